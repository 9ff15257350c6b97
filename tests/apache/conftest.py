"""What only a real Apache Kafka can show: collected in `make test-apache-kafka` alone.

As a module's fixture `bootstrap` a broker or cluster takes the place of the run's, so that `settings` are for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.apache_kafka.secured import SecuredKafka
from tests.support.apache_kafka.skipping import or_skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

collect_ignore_glob = [] if os.environ.get("HELIOGRAPH_TEST_BROKER") == "apache" else ["test_*.py"]


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One broker with TLS, SASL and an authorizer, for all modules about them."""
    with or_skipped(SecuredKafka(tmp_path_factory.mktemp("certificates"))) as kafka:
        yield kafka
