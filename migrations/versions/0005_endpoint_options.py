"""What an endpoint may choose, and how it has been doing.

`retries` and `window_seconds` override the operator's schedule within the operator's limits; NULL follows it.
`algorithm` `ed25519` adds a `v1a` signature beside the symmetric one: its secret is a second row of
`endpoint_secrets`, with the public half in clear, for customers to fetch.

`failing_since`, `dropped` and `last_result` are written while an endpoint fails and cleared by its next success,
so that one that works costs nothing; they decide when it is disabled.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Extend `endpoints` and `endpoint_secrets`, owned by publisher/endpoints.py and publisher/endpoint_secrets.py."""
    op.execute("""
        ALTER TABLE endpoints
            ADD retries        smallint CHECK (retries >= 0),
            ADD window_seconds integer CHECK (window_seconds > 0),
            ADD algorithm      text NOT NULL DEFAULT 'hmac-sha256' CHECK (algorithm IN ('hmac-sha256', 'ed25519')),
            ADD failing_since  timestamptz,
            ADD dropped        integer NOT NULL DEFAULT 0,
            ADD last_result    text,
            ADD CONSTRAINT what_works_has_dropped_nothing CHECK (failing_since IS NOT NULL OR dropped = 0)
    """)
    op.execute("""
        ALTER TABLE endpoint_secrets
            ADD kind       text NOT NULL DEFAULT 'hmac-sha256' CHECK (kind IN ('hmac-sha256', 'ed25519')),
            ADD public_key bytea,
            ADD CONSTRAINT asymmetric_keys_have_a_public_half CHECK ((kind = 'ed25519') = (public_key IS NOT NULL))
    """)
