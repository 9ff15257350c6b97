"""Credentials of the control plane, as its compacted topic tells them, and how far that has been read.

A reading is one walk through the topic, from its first record to its end and on. When the topic has to be read anew
(it was made again, or nobody looked for so long that tombstones are gone) a new reading fills up beside the current
one and takes its place in one transaction: no look-up meets half a list. Partition, offset and time of the record
that wrote a row let several processes follow the same topic. Whatever is revoked keeps its id and nothing else.
"""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create `credential_readings`, `credential_offsets` and `credentials`, owned by consumers/credentials.py."""
    op.execute("""
        CREATE TABLE credential_readings (
            number     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic      text NOT NULL,
            is_current boolean NOT NULL DEFAULT false,
            at_end_at  timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE UNIQUE INDEX one_reading_is_current ON credential_readings (is_current) WHERE is_current")
    op.execute("""
        CREATE TABLE credential_offsets (
            reading     integer REFERENCES credential_readings ON DELETE CASCADE,
            partition   integer,
            next_offset bigint NOT NULL,
            timestamp   bigint NOT NULL,
            PRIMARY KEY (reading, partition)
        )
    """)
    op.execute("""
        CREATE TABLE credentials (
            reading       integer REFERENCES credential_readings ON DELETE CASCADE,
            id            text COLLATE "C",
            partition     integer NOT NULL,
            "offset"      bigint NOT NULL,
            timestamp     bigint NOT NULL,
            kind          text CHECK (kind IN ('api_key', 'session')),
            account_id    text,
            secret_sha256 bytea,
            scopes        text[],
            cidrs         text[],
            certificates  text[],
            tier          text,
            is_audited    boolean,
            expires_at    timestamptz,
            revoked_at    timestamptz,
            PRIMARY KEY (reading, id),
            CONSTRAINT what_is_in_force_is_complete CHECK (
                revoked_at IS NOT NULL OR num_nulls(kind, account_id, scopes, cidrs, certificates, is_audited) = 0
            ),
            CONSTRAINT keys_have_a_secret CHECK (kind <> 'api_key' OR secret_sha256 IS NOT NULL),
            CONSTRAINT what_is_revoked_holds_nothing CHECK (
                revoked_at IS NULL
                OR num_nonnulls(
                    kind, account_id, secret_sha256, scopes, cidrs, certificates, tier, is_audited, expires_at
                ) = 0
            )
        )
    """)
    op.execute("CREATE INDEX credentials_ended ON credentials (least(revoked_at, expires_at))")
