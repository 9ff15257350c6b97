"""The service as it would be without metrics: what counting costs is what this one does not spend.

Started like the service itself, `python -m benchmarks.unmetered serve`; counters, gauges and histograms stand still.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from publisher.__main__ import main
from publisher.api.metrics import ApiMetrics
from publisher.metrics import PublisherMetrics


def _nothing(*_: object, **__: object) -> None:
    return


def stand_still() -> None:
    """Make everything that counts do nothing."""
    for kind, names in (
        (Counter, ("inc",)),
        (Gauge, ("inc", "dec", "set")),
        (Histogram, ("observe",)),
        (PublisherMetrics, ("attempted", "recorded", "cancelled")),
        (ApiMetrics, ("answered", "decided")),
    ):
        for name in names:
            setattr(kind, name, _nothing)


if __name__ == "__main__":
    stand_still()
    main()
