"""A real Apache Kafka for a module of tests, or one loud line that says why there is none."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.support.apache_kafka.server import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")


@contextlib.contextmanager
def or_skipped(kafka: AbstractContextManager[T]) -> Iterator[T]:
    """Start a broker or a cluster; skip the tests that ask for it where it cannot be had."""
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(kafka)
        except Unavailable as error:
            pytest.skip(f"REAL KAFKA NOT TESTED: {error}")
        yield started
