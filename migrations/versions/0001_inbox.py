"""The inbox: an event is handled once, however often Kafka hands it over.

Unique on CloudEvents `source` + `id`, which the specification makes the identity of an event. Rows are small
and only ever inserted; `seen_at` is there for retention.
"""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create `inbox`, owned by consumers/inbox.py."""
    op.execute("""
        CREATE TABLE inbox (
            source   text NOT NULL,
            event_id text NOT NULL,
            seen_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (source, event_id)
        )
    """)
