"""Keys that begin with the account, so that the large tables can be spread over machines by it.

A row of `queue`, `messages`, `deliveries` and `attempts` was found by its id, or its endpoint's, alone: on a database
that is spread by account that means asking every machine, and no unique key may leave the account out. This is the
first of two steps, which processes of the previous release survive: they go on finding rows by the old keys.

`queue` gets its new keys at once; what it holds decides how long that takes, seconds for a million rows. A partition
with much in it is not indexed here, for that would hold up everybody: it keeps the old key until retention drops it,
and the partitions made from here on have both. Whoever will not wait makes the index by hand (CREATE UNIQUE INDEX
CONCURRENTLY on the partition, ALTER INDEX … ATTACH PARTITION).

Accounts and endpoints are compared byte for byte from here on, as ids are: a join of two collations uses no index, and
an index in the order of a language is wrong after an update of the system's library.

`inbox` learns whose an event was; its key stays, because processes of the previous release do not say so.

All tables are locked before anything is changed, and in one go: who delivers takes them in one order and who records in
another, and either would end in a deadlock with a migration that takes them as it comes to them. A try that does not
get all of them lets go of what it has before the server looks for deadlocks; meanwhile intake and delivery wait for
less than half a second at a time.

The second step is a later release's, when retention has been round once (docs/adr/0022-keys-for-distribution.md).
"""

from alembic import op

revision = "0015"
down_revision = "0014"

#: Bytes of a partition that is indexed in this transaction: a fraction of a second.
SMALL = 16 * 2**20
#: What of the partitioned tables is unique by account, and in what order it is read.
KEYS = {
    "messages": "account_id, id",
    "deliveries": "account_id, endpoint_id, id",
    "attempts": "account_id, delivery_id, number",
}
#: ON ONLY makes the index of the table and none of its partitions'; what is attached to it makes it whole.
INDEX = """
DO $$
DECLARE
    part record;
    made text;
BEGIN
    CREATE {kind} {name} ON ONLY {table} ({columns}) {condition};
    FOR part IN
        SELECT pg_class.oid::regclass AS name, relname
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = '{table}'::regclass AND pg_relation_size(inhrelid) <= {small}
        ORDER BY relname
    LOOP
        made := replace('{name}', '{table}', part.relname);
        EXECUTE format($i$CREATE {kind} %I ON %s ({columns}) {condition}$i$, made, part.name);
        EXECUTE format($i$ALTER INDEX {name} ATTACH PARTITION %I$i$, made);
    END LOOP;
END $$
"""
#: Tries to get all locks, a quarter of a second apart on the average.
TRIES = 240
#: The wait ends before `deadlock_timeout`, a second, sends somebody else away.
LOCK = f"""
DO $$
DECLARE
    patience text := current_setting('lock_timeout');
BEGIN
    FOR try IN 1..{TRIES} LOOP
        BEGIN
            SET LOCAL lock_timeout = '400ms';
            LOCK TABLE delivery_log, messages, queue, deliveries, attempts, endpoints, endpoint_secrets, inbox
                IN ACCESS EXCLUSIVE MODE;
            PERFORM set_config('lock_timeout', patience, true);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM pg_sleep(0.5 * random());
        END;
    END LOOP;
    RAISE EXCEPTION 'the tables were never free at one moment: somebody holds a long transaction (pg_stat_activity)';
END $$
"""
VIEW = """
CREATE VIEW delivery_log AS
SELECT account_id, id, endpoint_id, message_id, type, state, NULL::text AS reason, attempts, last_result,
       CASE WHEN state <> 'leased' THEN due_at END AS next_attempt_at,
       created_at, first_try_at, NULL::timestamptz AS ended_at
FROM queue
UNION ALL
SELECT account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result,
       NULL, created_at, first_try_at, ended_at
FROM deliveries
"""


def upgrade() -> None:
    """Give the tables of publisher/queue.py keys by account beside the old ones, and `inbox` the account."""
    op.execute(LOCK)
    _compare_byte_for_byte()
    op.execute("ALTER TABLE queue DROP CONSTRAINT queue_pkey, ADD PRIMARY KEY (account_id, id)")
    op.execute("CREATE INDEX queue_by_account ON queue (account_id, endpoint_id, due_at)")
    op.execute("CREATE UNIQUE INDEX queue_by_id ON queue (id)")  # for the previous release, as queue_by_turn is
    for table, columns in KEYS.items():
        _index("UNIQUE INDEX", f"{table}_by_account", table, columns)
    _index("INDEX", "deliveries_missed", "deliveries", KEYS["deliveries"], "WHERE state <> 'delivered'")
    op.execute("ALTER TABLE inbox ADD account_id text COLLATE \"C\" NOT NULL DEFAULT ''")


def _compare_byte_for_byte() -> None:
    """Change the catalogue alone, but for the keys of `endpoints` and its secrets: these are made anew."""
    op.execute("DROP VIEW delivery_log")
    for table in ("queue", *KEYS):
        op.execute(f'ALTER TABLE {table} ALTER account_id TYPE text COLLATE "C"')
    op.execute(VIEW)
    for table, name in (("endpoints", "id"), ("endpoint_secrets", "endpoint_id")):
        op.execute(f'ALTER TABLE {table} ALTER account_id TYPE text COLLATE "C", ALTER {name} TYPE text COLLATE "C"')


def _index(kind: str, name: str, table: str, columns: str, condition: str = "") -> None:
    op.execute(INDEX.format(kind=kind, name=name, table=table, columns=columns, condition=condition, small=SMALL))
