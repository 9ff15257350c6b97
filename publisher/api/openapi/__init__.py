"""The API described by itself: an OpenAPI 3.1 document made from what serves it. Pure.

Nothing is written twice: routes come from the table of operations, bodies from their models, envelopes from the
profile's templates, what can go wrong from the stages of the pipeline (`faults.py`), the headers of webhooks from the
code that sends them. So a profile of another provider is described as it is, without a line here.

`document.py` puts it together; read it first.
"""

from publisher.api.openapi.document import document, encoded
from publisher.api.openapi.faults import codes_of, faults_of
from publisher.api.openapi.public import DOCS, OPENAPI

__all__ = ["DOCS", "OPENAPI", "codes_of", "document", "encoded", "faults_of"]
