"""What stands on the topics, described: an AsyncAPI 3.0 document. Pure.

Schemas of events are those of the models that decode them, examples are made by the code that produces them. What is
on the other topics has no model of its own and is written down in `records.py`; the tests hold it against the code
that reads and writes it.
"""

from publisher.asyncapi.document import document

__all__ = ["document"]
