"""Every advisory lock of the database, in one list: two purposes with one number would wait for each other.

A number is a lock by itself, or the seed under which `hashtextextended` makes one of a name. It never changes: during
an upgrade both releases must meet at the same lock. All are taken for a transaction, so that a pooler between us and
PostgreSQL does not part a lock from whoever holds it.
"""

from __future__ import annotations

import enum


@enum.unique
class AdvisoryLock(enum.IntEnum):
    """What each number is for."""

    #: Whoever migrates the schema (migrations/env.py).
    SCHEMA = 4_843_211_870
    #: Whoever changes partitions, a step at a time (runtime/partitions.py).
    PARTITIONS = 4_843_211_871
    #: Of an endpoint: whoever begins a recovery (publisher/recovery.py).
    RECOVERIES = 4_843_211_872
    #: Of a chore: whoever does it (publisher/alone.py).
    CHORES = 4_843_211_873
    #: Of what is published: whoever stores a document, or a canary (feeds/documents.py, feeds/canary_publishing.py).
    DOCUMENTS = 6_120_934_417
    #: Of an account: whoever adds an endpoint (publisher/endpoints.sql).
    ENDPOINTS = 7_305_924_418
