"""Answers to POSTs, kept for a day: whoever repeats an Idempotency-Key gets the same one, and nothing is done twice.

The row is written in the transaction that does what was asked, so there is none of what failed. An answer may show a
webhook's secret, so its body is sealed, and of the key there is only a hash. A row without an answer is a reservation
for work outside of any transaction, and ends with its lease.
"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create `idempotency_keys`, owned by publisher/api/idempotency.py; one index for the repetition, one to forget."""
    op.execute("""
        CREATE TABLE idempotency_keys (
            account_id   text NOT NULL,
            key_hash     bytea NOT NULL CHECK (octet_length(key_hash) = 32),
            fingerprint  bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
            leased_until timestamptz,
            status       smallint CHECK (status BETWEEN 200 AND 299),
            headers      jsonb,
            key_id       text,
            sealed       bytea,
            created_at   timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (account_id, key_hash),
            CHECK (num_nulls(status, headers, key_id, sealed) IN (0, 4)),
            CHECK ((leased_until IS NULL) = (status IS NOT NULL))
        )
    """)
    op.execute("CREATE INDEX idempotency_keys_old ON idempotency_keys (created_at)")
