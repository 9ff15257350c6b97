"""A run on a real Apache Kafka that cannot have one says so in one line and is over: it failed nothing, proved nothing.

`make test` runs the same tests on the embedded broker.
"""

from __future__ import annotations

import os

import pytest

from tests.support.apache_kafka import server


def pytest_sessionstart() -> None:
    """Ask for Java and the broker's jars before the first test does."""
    if os.environ.get("HELIOGRAPH_TEST_BROKER") == "apache":
        try:
            server._program("java", "install a Java 17 runtime")
            server.resolve()
        except server.Unavailable as error:
            pytest.exit(f"REAL KAFKA NOT TESTED: {error}", returncode=0)
