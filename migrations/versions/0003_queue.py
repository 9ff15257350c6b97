"""The delivery queue: messages, their deliveries, every attempt made.

A message holds the exact bytes that are signed and sent, once for all its deliveries; public messages (canary,
incidents, peering) have the empty account. `due_at` is the moment somebody may next take a delivery: the next
attempt while it waits, the end of the lease while somebody has it. One partial index over it therefore finds
both what is due and what was abandoned, and holds only live rows.

No foreign keys between these tables: they are written together in one transaction or by id alone, and a check
per row would cost more than the row (and lock endpoints against their owner).
"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create `sequences`, `messages`, `deliveries` and `attempts`, owned by publisher/queue.py."""
    op.execute("""
        CREATE TABLE sequences (
            account_id text NOT NULL,
            resource   text NOT NULL,
            value      bigint NOT NULL,
            PRIMARY KEY (account_id, resource)
        )
    """)
    op.execute("""
        CREATE TABLE messages (
            account_id  text NOT NULL,
            id          text NOT NULL,
            type        text NOT NULL,
            body        bytea NOT NULL,
            traceparent text,
            created_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (id)
        )
    """)
    op.execute("""
        CREATE TABLE deliveries (
            account_id   text NOT NULL,
            id           text NOT NULL,
            endpoint_id  text NOT NULL,
            message_id   text NOT NULL,
            state        text NOT NULL CHECK (
                             state IN ('pending', 'leased', 'retry', 'delivered', 'dropped', 'cancelled')),
            attempts     smallint NOT NULL DEFAULT 0,
            due_at       timestamptz,
            lease        bigint,
            last_result  text,
            created_at   timestamptz NOT NULL DEFAULT now(),
            first_try_at timestamptz,
            ended_at     timestamptz,
            PRIMARY KEY (id),
            CONSTRAINT leased_rows_have_a_lease CHECK ((state = 'leased') = (lease IS NOT NULL)),
            CONSTRAINT live_rows_are_due CHECK ((state IN ('pending', 'leased', 'retry')) = (due_at IS NOT NULL)),
            CONSTRAINT ended_rows_have_an_end CHECK (
                (state IN ('delivered', 'dropped', 'cancelled')) = (ended_at IS NOT NULL)),
            CONSTRAINT retries_were_tried CHECK (state <> 'retry' OR attempts > 0),
            CONSTRAINT delivered_rows_were_tried CHECK (state <> 'delivered' OR attempts > 0)
        ) WITH (fillfactor = 80)
    """)
    op.execute("CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL")
    op.execute("""
        CREATE TABLE attempts (
            account_id   text NOT NULL,
            delivery_id  text NOT NULL,
            number       smallint NOT NULL,
            result       text NOT NULL CHECK (result IN (
                             '2xx', '3xx', '4xx', '410', '429', '5xx', 'timeout', 'dns', 'tls', 'connect',
                             'blocked', 'protocol', 'internal')),
            status       smallint,
            duration_ms  integer NOT NULL,
            response     text,
            attempted_at timestamptz NOT NULL,
            PRIMARY KEY (delivery_id, number)
        )
    """)
