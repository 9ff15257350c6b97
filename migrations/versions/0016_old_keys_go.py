"""The keys without the account go: the second step of docs/adr/0022-keys-for-distribution.md, but for `inbox`.

Since migration 0015 no code asks by them, and each costs every delivery a row in an index: a quarter of the WAL, and
a millisecond or two of the way to the receiver. Processes of the previous release go on: they find rows by account.

A partition that 0015 found too large to index has nothing but its old key. While there is one, this migration refuses
and names it: retention drops it in time, or its index is made by hand, without a lock, and attached. What is dropped
changes the catalogue alone; all locks are taken in one go, as in 0015.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

#: The index each partition has to have, and what goes with it.
NEW = {
    "messages": ("messages_by_account", "account_id, id"),
    "deliveries": ("deliveries_by_account", "account_id, endpoint_id, id"),
    "attempts": ("attempts_by_account", "account_id, delivery_id, number"),
}
CHECK = """
DO $$
DECLARE
    part text;
BEGIN
    SELECT inhrelid::regclass::text INTO part FROM pg_inherits
    WHERE inhparent = '{table}'::regclass AND NOT EXISTS (
        SELECT FROM pg_index JOIN pg_inherits AS attached ON attached.inhrelid = indexrelid
        WHERE indrelid = pg_inherits.inhrelid AND attached.inhparent = '{index}'::regclass AND indisvalid)
    ORDER BY 1 LIMIT 1;
    IF part IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = format(
            'the partition %s has no key by account yet: wait until retention has dropped it, or '
            'CREATE UNIQUE INDEX CONCURRENTLY %s_by_account ON %s ({columns}); '
            'ALTER INDEX {index} ATTACH PARTITION %s_by_account; and migrate again', part, part, part, part);
    END IF;
END $$
"""
TRIES = 240
#: As in 0015, whose text says why.
LOCK = f"""
DO $$
DECLARE
    patience text := current_setting('lock_timeout');
BEGIN
    FOR try IN 1..{TRIES} LOOP
        BEGIN
            SET LOCAL lock_timeout = '400ms';
            LOCK TABLE messages, queue, deliveries, attempts IN ACCESS EXCLUSIVE MODE;
            PERFORM set_config('lock_timeout', patience, true);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM pg_sleep(0.5 * random());
        END;
    END LOOP;
    RAISE EXCEPTION 'the tables were never free at one moment: somebody holds a long transaction (pg_stat_activity)';
END $$
"""


def upgrade() -> None:
    """Drop what nobody asks by."""
    op.execute(LOCK)
    for table, (index, columns) in NEW.items():
        op.execute(CHECK.format(table=table, index=index, columns=columns))
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
    op.execute("DROP INDEX deliveries_undelivered, queue_by_id, queue_by_turn")
