"""The history of peering is public: a page of it, of everything or of one prefix, is read from an index, not sorted.

Also a document's prefixes: `lag` over each subject's changes walks the second index. It takes the place of one that
began with the AS, which nothing asks for. Event ids are compared byte for byte, whatever the database's collation.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

ORDER = 'happened_at, event_id COLLATE "C", source COLLATE "C", place'


def upgrade() -> None:
    """Index `peering_changes` (feeds/peering_facts.py) in the order it is told in: as a whole, and by subject."""
    op.execute(f"CREATE INDEX peering_changes_told ON peering_changes ({ORDER})")
    op.execute(f"CREATE INDEX peering_changes_of_subject ON peering_changes (kind, subject, {ORDER})")
    op.execute("DROP INDEX peering_changes_of")
