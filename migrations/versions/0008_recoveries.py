"""Two small tables: recoveries under way, and accounts whose queue is full.

A recovery is a row with a cursor: each batch of deliveries is put back into the queue in the transaction that
moves the cursor, so a restart goes on where it stopped and nothing goes out twice.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create `recoveries`, owned by publisher/recovery.py, and `full_accounts`, owned by publisher/quota.py."""
    op.execute("""
        CREATE TABLE recoveries (
            account_id   text NOT NULL,
            id           text NOT NULL,
            endpoint_id  text COLLATE "C" NOT NULL,
            since        timestamptz NOT NULL,
            until        timestamptz NOT NULL CHECK (until >= since),
            states       text[] NOT NULL CHECK (states <@ '{dropped,cancelled}' AND cardinality(states) > 0),
            cursor       text COLLATE "C" NOT NULL,
            queued       integer NOT NULL DEFAULT 0,
            expired      integer NOT NULL DEFAULT 0,
            created_at   timestamptz NOT NULL DEFAULT now(),
            ended_at     timestamptz,
            PRIMARY KEY (account_id, id)
        )
    """)
    op.execute("CREATE INDEX recoveries_running ON recoveries (created_at) WHERE ended_at IS NULL")
    op.execute("""
        CREATE TABLE full_accounts (
            account_id  text PRIMARY KEY,
            queued      bigint NOT NULL,
            since       timestamptz NOT NULL DEFAULT now()
        )
    """)
