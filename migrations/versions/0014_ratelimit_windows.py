"""Windows of the compute API's limiter that were counted: a record of one may come again, and is not to count again.

Records have no ids, Kafka hands them over again after a crash or a rebalance, and producers send them again when an
acknowledgement is lost. A counter can only be right if somebody remembers what it has counted, for as long as it may
come again. The row also says what the last record of its window added, because that is what is left to be counted.
"""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the table; owner: publisher/ratelimit_windows.py."""
    op.execute("""
        CREATE TABLE ratelimit_windows (
            window_start   timestamptz NOT NULL,
            window_seconds integer NOT NULL,
            policy         text NOT NULL,
            instance       text NOT NULL,
            allowed        bigint NOT NULL,
            limited        bigint NOT NULL,
            added_allowed  bigint NOT NULL,
            added_limited  bigint NOT NULL,
            PRIMARY KEY (window_start, window_seconds, policy, instance)
        )
    """)
