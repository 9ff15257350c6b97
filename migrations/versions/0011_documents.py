"""What was published and signed: exact bytes with their signatures, in the order of each feed, never changed.

A signature covers bytes, so bytes are kept, not a table of facts that would have to be written the same way again.
Nothing here is ever updated: who could change a row would still lack the keys, but an accident would not, so the
database refuses it. A reminder's row is what makes it happen once, whichever process sees the day.
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the tables of feeds/documents.py, and `canary_reminders` of feeds/canary_reminders.py."""
    op.execute("""
        CREATE TABLE documents (
            feed         text NOT NULL,
            number       bigint NOT NULL CHECK (number > 0),
            content      bytea NOT NULL,
            sha256       bytea NOT NULL GENERATED ALWAYS AS (sha256(content)) STORED,
            published_at timestamptz NOT NULL,
            PRIMARY KEY (feed, number)
        )
    """)
    op.execute("""
        CREATE TABLE document_signatures (
            feed        text NOT NULL,
            number      bigint NOT NULL,
            fingerprint text NOT NULL CHECK (fingerprint ~ '^[0-9A-F]{40}$'),
            armored     bytea NOT NULL,
            PRIMARY KEY (feed, number, fingerprint),
            FOREIGN KEY (feed, number) REFERENCES documents ON DELETE CASCADE
        )
    """)
    op.execute("""
        CREATE FUNCTION documents_stay() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'what was published is not changed' USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table in ("documents", "document_signatures"):
        op.execute(
            f"CREATE TRIGGER {table}_stay BEFORE UPDATE OR TRUNCATE ON {table} EXECUTE FUNCTION documents_stay()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_of_the_canary_stay BEFORE DELETE ON {table} FOR EACH ROW "
            "WHEN (OLD.feed = 'canary') EXECUTE FUNCTION documents_stay()"
        )
    op.execute("""
        CREATE TABLE canary_reminders (
            number  bigint NOT NULL,
            kind    text NOT NULL,
            sent_at timestamptz NOT NULL,
            PRIMARY KEY (number, kind)
        )
    """)
