"""Endpoints: what a customer subscribed, and the secrets that sign what it receives.

Secrets stand in a table of their own because an endpoint has two of them while one is being rotated. They are
sealed (AES-GCM) with a key the database never sees; `key_id` says which. `version` of an endpoint grows with
every change, so that a process can cache what it prepared for it.
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create `endpoints` and `endpoint_secrets`, owned by publisher/endpoints.py and publisher/endpoint_secrets.py."""
    op.execute("""
        CREATE TABLE endpoints (
            account_id      text NOT NULL,
            id              text NOT NULL UNIQUE,
            url             text NOT NULL,
            events          text[] NOT NULL CHECK (cardinality(events) BETWEEN 1 AND 100),
            description     text NOT NULL DEFAULT '' CHECK (length(description) <= 256),
            status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled')),
            disabled_reason text CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL)),
            version         integer NOT NULL DEFAULT 1,
            created_at      timestamptz NOT NULL DEFAULT now(),
            updated_at      timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (account_id, id)
        )
    """)
    op.execute("""
        CREATE TABLE endpoint_secrets (
            account_id  text NOT NULL,
            endpoint_id text NOT NULL,
            version     integer NOT NULL,
            key_id      text NOT NULL,
            sealed      bytea NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT now(),
            expires_at  timestamptz,
            PRIMARY KEY (account_id, endpoint_id, version),
            FOREIGN KEY (account_id, endpoint_id) REFERENCES endpoints ON DELETE CASCADE
        )
    """)
