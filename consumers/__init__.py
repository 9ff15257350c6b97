"""Kafka in: records become typed domain events, events reach their handlers in one transaction.

Follow a record: `broker` polls it, `decode` turns it into an event or says why not, `loop` opens the
transaction in which `inbox` drops duplicates and the handlers do their work, then commits the offsets;
`deadletters` keeps what could not be handled, and `replay` reads it back. Handlers are handed in by the wiring:
this package knows none. `announcements` is the way out: what the control plane is to hear.
"""
