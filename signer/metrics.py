"""What signing exports; names and labels are the public contract's.

Counted where signatures are asked for, by the client: the signing process has no network and nobody scrapes it, and a
signer that does not answer at all is counted too. What the client's cache answers is no signature.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from signer.protocol import Kind

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)


class Result(StrEnum):
    """How asking for a signature ended; a closed set."""

    SIGNED = "signed"
    #: By what it was asked to sign: too large, or not a text.
    REFUSED = "refused"
    #: The signer could not: its key, its gpg.
    FAILED = "failed"
    #: The signer was not there, had no time, or did not answer in time.
    UNAVAILABLE = "unavailable"


class SignerMetrics:
    """Counters of the signatures asked for; every label set exists from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything on `registry`."""
        self.signatures = Counter(
            "heliograph_signatures", "Signatures asked for", ("kind", "result"), registry=registry
        )
        self.duration = Histogram(
            "heliograph_signature_duration_seconds",
            "From asking for a signature to having it",
            ("kind",),
            buckets=BUCKETS,
            registry=registry,
        )
        for kind in Kind:
            self.duration.labels(kind)
            for result in Result:
                self.signatures.labels(kind, result)
