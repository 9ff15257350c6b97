"""The schema, as numbered, forward-only migrations with hand-written SQL; Alembic runs them.

Each migration says why it exists. Code of the previous release must survive the schema of the next one: add
first, remove a release later.
"""
