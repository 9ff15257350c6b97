"""Announcements: what the control plane is to hear, written in the transaction that makes it true.

An outbox: a crash between the database's commit and the broker's acknowledgement loses nothing. Rows leave when
the broker has acknowledged them; `taken_until` keeps two processes from sending the same ones at once.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create `announcements`, owned by consumers/announcements.py."""
    op.execute("""
        CREATE TABLE announcements (
            id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            event_id    uuid NOT NULL DEFAULT gen_random_uuid(),
            type        text NOT NULL,
            account_id  text,
            key         text NOT NULL,
            data        text NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT now(),
            taken_until timestamptz NOT NULL DEFAULT '-infinity'
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)
    """)
