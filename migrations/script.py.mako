"""${message}: why.

Revision ID: ${up_revision}
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """What changes, in one sentence."""
    ${upgrades if upgrades else "op.execute('')"}
