"""The inbox in periods of forty-five days, so that it can forget by dropping a partition.

An event is known by `source` and `event_id` alone, but a unique key of a partitioned table must hold the partition's
column. So `period` is part of the key, older periods are looked up, and around a change of period a row is
written into both: whoever handles the same event at the same moment meets the same key, whichever side of the
change it is on (consumers/inbox.py).
"""

from alembic import op

revision = "0007"
down_revision = "0006"

PERIOD_SECONDS = 45 * 86_400


def upgrade() -> None:
    """Make `inbox` partitioned, with what it holds."""
    op.execute("ALTER TABLE inbox RENAME TO inbox_before")
    op.execute("ALTER TABLE inbox_before DROP CONSTRAINT inbox_pkey")
    op.execute("""
        CREATE TABLE inbox (
            period   integer NOT NULL,
            source   text NOT NULL,
            event_id text NOT NULL,
            seen_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (source, event_id, period)
        ) PARTITION BY RANGE (period)
    """)
    op.execute(f"""
        DO $$
        DECLARE
            period integer;
        BEGIN
            FOR period IN SELECT generate_series(
                (SELECT floor(extract(epoch FROM least(now() - interval '1 day', min(seen_at))) / {PERIOD_SECONDS})
                 FROM inbox_before)::integer,
                floor(extract(epoch FROM now()) / {PERIOD_SECONDS})::integer + 1
            ) LOOP
                EXECUTE format('CREATE TABLE %I PARTITION OF inbox FOR VALUES FROM (%s) TO (%s)',
                               'inbox_' || period, period, period + 1);
            END LOOP;
        END $$
    """)  # noqa: S608 - the constant above
    op.execute("CREATE TABLE inbox_default PARTITION OF inbox DEFAULT")
    op.execute(f"""
        INSERT INTO inbox (period, source, event_id, seen_at)
        SELECT floor(extract(epoch FROM seen_at) / {PERIOD_SECONDS})::integer, source, event_id, seen_at
        FROM inbox_before
    """)  # noqa: S608 - the constant above
    op.execute("DROP TABLE inbox_before")
