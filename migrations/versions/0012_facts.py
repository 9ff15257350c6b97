"""What the feeds are made of: facts of incidents, peering and components; order and repetition do not matter.

Events come late, twice and in any order. So incidents are kept as the events they are, changes of peering by what they
are about and when, and of each component a day is a row of slots in which the worst report wins. A document is a
function of these rows alone. A mark counts what changed in a feed, so that whoever publishes knows when to look.
"""

from alembic import op

revision = "0012"
down_revision = "0011"

SLOTS = 288


def upgrade() -> None:
    """Create the tables of facts, each owned by the file of feeds/ named behind it, and a place in the stream."""
    op.execute("""
        CREATE TABLE incident_events (
            incident_id text NOT NULL,
            type        text NOT NULL,
            happened_at timestamptz NOT NULL,
            source      text NOT NULL,
            event_id    text NOT NULL,
            data        jsonb NOT NULL,
            PRIMARY KEY (source, event_id)
        )
    """)  # feeds/incident_facts.py
    op.execute("CREATE INDEX incident_events_of ON incident_events (incident_id)")
    op.execute("""
        CREATE TABLE peering_changes (
            asn         bigint NOT NULL,
            kind        text NOT NULL CHECK (kind IN ('prefix', 'session')),
            subject     text NOT NULL,
            op          text NOT NULL,
            happened_at timestamptz NOT NULL,
            source      text NOT NULL,
            event_id    text NOT NULL,
            place       integer NOT NULL,
            data        jsonb NOT NULL,
            PRIMARY KEY (source, event_id, place)
        )
    """)  # feeds/peering_facts.py
    op.execute("CREATE INDEX peering_changes_of ON peering_changes (asn, kind, subject, happened_at)")
    op.execute("""
        CREATE TABLE peering_records (
            asn         bigint PRIMARY KEY,
            happened_at timestamptz NOT NULL,
            event_id    text NOT NULL,
            record      jsonb NOT NULL
        )
    """)  # feeds/peering_facts.py
    op.execute("""
        CREATE TABLE component_status (
            component   text PRIMARY KEY,
            status      text NOT NULL,
            checks      jsonb NOT NULL,
            reported_at timestamptz NOT NULL
        )
    """)  # feeds/component_facts.py
    op.execute(f"""
        CREATE TABLE component_days (
            component text NOT NULL,
            day       date NOT NULL,
            slots     bytea NOT NULL CHECK (octet_length(slots) = {SLOTS}),
            PRIMARY KEY (component, day)
        )
    """)  # feeds/component_facts.py
    op.execute("""
        CREATE TABLE feed_marks (
            feed       text PRIMARY KEY,
            changes    bigint NOT NULL DEFAULT 0,
            changed_at timestamptz NOT NULL DEFAULT now()
        )
    """)  # feeds/marks.py
    op.execute("INSERT INTO feed_marks (feed) VALUES ('incidents'), ('peering'), ('status')")
    op.execute("ALTER TABLE documents ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY UNIQUE")
