"""Deliveries apart by what happens to them: the queue holds what is under way, the log what has ended.

The queue is small and churns; the log is large and only grows. In one table the live rows share pages, vacuum and
partitions with a month of history, and a backlog slows what is new. So a delivery lives in `queue` until it ends
and is then moved, in the statement that records its end, to `deliveries`; the view `delivery_log` shows both.

`messages`, `deliveries` and `attempts` are partitioned by the day in the id: ids begin with the millisecond of
their making, so a range of ids is a range of time, the primary key needs no second column, and a lookup by id finds
its one partition. Retention drops whole partitions. The default partition takes the ids of a clock that is far
off; it is empty otherwise.

`queue_by_turn` is what a fair claim walks: endpoint by endpoint, each one's oldest first.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

#: Days made ahead; `publisher/retention.py` goes on from there.
AHEAD = 7
PARTITIONS = """
DO $$
DECLARE
    day date;
    first_day date;
    bound text;
BEGIN
    SELECT least((now() AT TIME ZONE 'UTC')::date - 1, min(created_at AT TIME ZONE 'UTC')::date)
    INTO first_day FROM messages_before;
    FOR day IN SELECT generate_series(first_day, (now() AT TIME ZONE 'UTC')::date + {ahead}, '1 day') LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF {table} FOR VALUES FROM (%L) TO (%L)',
            '{table}_' || to_char(day, 'YYYYMMDD'),
            '{prefix}_' || lpad(to_hex((extract(epoch FROM day AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0'),
            '{prefix}_' || lpad(to_hex((extract(epoch FROM (day + 1) AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0'));
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Create `queue`; make `messages`, `deliveries` and `attempts` partitioned, with what they hold."""
    for table in ("messages", "deliveries", "attempts"):
        op.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
        op.execute(f"ALTER TABLE {table}_before DROP CONSTRAINT {table}_pkey")
    _create_queue()
    _create_messages()
    _create_deliveries()
    _create_attempts()
    for table, prefix in (("messages", "msg"), ("deliveries", "dlv"), ("attempts", "dlv")):
        op.execute(PARTITIONS.format(table=table, prefix=prefix, ahead=AHEAD))
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    _move()
    op.execute("DROP TABLE attempts_before, deliveries_before, messages_before")
    op.execute("""
        CREATE VIEW delivery_log AS
        SELECT account_id, id, endpoint_id, message_id, type, state, NULL::text AS reason, attempts, last_result,
               CASE WHEN state <> 'leased' THEN due_at END AS next_attempt_at,
               created_at, first_try_at, NULL::timestamptz AS ended_at
        FROM queue
        UNION ALL
        SELECT account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result,
               NULL, created_at, first_try_at, ended_at
        FROM deliveries
    """)


def _create_queue() -> None:
    """`attempts` counts all of a delivery's, `tried` those of the schedule it is on; a redelivery begins a new one."""
    op.execute("""
        CREATE TABLE queue (
            account_id   text NOT NULL,
            id           text COLLATE "C" NOT NULL,
            endpoint_id  text COLLATE "C" NOT NULL,
            message_id   text COLLATE "C" NOT NULL,
            type         text NOT NULL,
            state        text NOT NULL CHECK (state IN ('pending', 'leased', 'retry')),
            attempts     smallint NOT NULL DEFAULT 0,
            tried        smallint NOT NULL DEFAULT 0,
            due_at       timestamptz NOT NULL,
            lease        bigint,
            last_result  text,
            created_at   timestamptz NOT NULL DEFAULT now(),
            first_try_at timestamptz,
            PRIMARY KEY (id),
            CONSTRAINT leased_rows_have_a_lease CHECK ((state = 'leased') = (lease IS NOT NULL)),
            CONSTRAINT retries_were_tried CHECK (state <> 'retry' OR tried > 0),
            CONSTRAINT pending_rows_were_not CHECK (state <> 'pending' OR tried = 0),
            CONSTRAINT tries_are_attempts CHECK (tried BETWEEN 0 AND attempts)
        ) WITH (
            fillfactor = 80,
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
            autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000
        )
    """)
    op.execute("CREATE INDEX queue_by_turn ON queue (endpoint_id, due_at)")


def _create_messages() -> None:
    op.execute("""
        CREATE TABLE messages (
            account_id  text NOT NULL,
            id          text COLLATE "C" NOT NULL,
            type        text NOT NULL,
            body        bytea NOT NULL,
            traceparent text,
            created_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (id)
        ) PARTITION BY RANGE (id)
    """)


def _create_deliveries() -> None:
    """`reason` says why a delivery ended that was not ended by its schedule."""
    op.execute("""
        CREATE TABLE deliveries (
            account_id   text NOT NULL,
            id           text COLLATE "C" NOT NULL,
            endpoint_id  text COLLATE "C" NOT NULL,
            message_id   text COLLATE "C" NOT NULL,
            type         text NOT NULL,
            state        text NOT NULL CHECK (state IN ('delivered', 'dropped', 'cancelled')),
            reason       text CHECK (reason IN ('endpoint', 'quota', 'expired', 'operator')),
            attempts     smallint NOT NULL,
            last_result  text,
            created_at   timestamptz NOT NULL,
            first_try_at timestamptz,
            ended_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (endpoint_id, id),
            CONSTRAINT delivered_rows_were_tried CHECK (state <> 'delivered' OR (attempts > 0 AND reason IS NULL)),
            CONSTRAINT dropped_rows_were_tried CHECK (
                state <> 'dropped' OR coalesce(reason = 'operator', attempts > 0)),
            CONSTRAINT cancelled_rows_say_why CHECK (state <> 'cancelled' OR reason IS NOT NULL)
        ) PARTITION BY RANGE (id)
    """)
    op.execute("CREATE INDEX deliveries_undelivered ON deliveries (endpoint_id, id) WHERE state <> 'delivered'")


def _create_attempts() -> None:
    """`signature` and `agent` are what of a request's headers cannot be computed again from the other columns."""
    op.execute("""
        CREATE TABLE attempts (
            account_id   text NOT NULL,
            delivery_id  text COLLATE "C" NOT NULL,
            number       smallint NOT NULL,
            result       text NOT NULL CHECK (result IN (
                             '2xx', '3xx', '4xx', '410', '429', '5xx', 'timeout', 'dns', 'tls', 'connect',
                             'blocked', 'protocol', 'internal')),
            status       smallint,
            duration_ms  integer NOT NULL,
            response     text,
            attempted_at timestamptz NOT NULL,
            signature    text,
            agent        text,
            PRIMARY KEY (delivery_id, number)
        ) PARTITION BY RANGE (delivery_id)
    """)


def _move() -> None:
    op.execute("""
        INSERT INTO messages (account_id, id, type, body, traceparent, created_at)
        SELECT account_id, id, type, body, traceparent, created_at FROM messages_before
    """)
    op.execute("""
        INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, attempts, tried, due_at, lease,
                           last_result, created_at, first_try_at)
        SELECT d.account_id, d.id, d.endpoint_id, d.message_id, m.type, d.state, d.attempts, d.attempts, d.due_at,
               d.lease, d.last_result, d.created_at, d.first_try_at
        FROM deliveries_before d JOIN messages_before m ON m.id = d.message_id WHERE d.ended_at IS NULL
    """)
    op.execute("""
        INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result,
                                created_at, first_try_at, ended_at)
        SELECT d.account_id, d.id, d.endpoint_id, d.message_id, m.type, d.state,
               CASE WHEN d.state = 'cancelled' THEN 'endpoint' END, d.attempts, d.last_result, d.created_at,
               d.first_try_at, d.ended_at
        FROM deliveries_before d JOIN messages_before m ON m.id = d.message_id WHERE d.ended_at IS NOT NULL
    """)
    op.execute("""
        INSERT INTO attempts (account_id, delivery_id, number, result, status, duration_ms, response, attempted_at)
        SELECT account_id, delivery_id, number, result, status, duration_ms, response, attempted_at
        FROM attempts_before
    """)
