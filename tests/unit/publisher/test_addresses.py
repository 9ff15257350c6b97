"""Where workers listen, and what Prometheus is told of it."""

from __future__ import annotations

import pytest

from publisher import addresses


@pytest.mark.parametrize(
    ("listen", "number", "wanted"),
    [
        ("127.0.0.1:9090", 1, "127.0.0.1:9091"),
        ("127.0.0.1:9090", 4, "127.0.0.1:9094"),
        ("127.0.0.1:0", 3, "127.0.0.1:0"),
        ("0.0.0.0:9090", 2, "0.0.0.0:9092"),
        ("[::1]:9090", 1, "[::1]:9091"),
        ("localhost:65534", 1, "localhost:65535"),
        ("localhost:65534", 2, "localhost:0"),
    ],
)
def test_a_worker_listens_as_many_ports_above_its_parent_as_its_number_says(
    listen: str, number: int, wanted: str
) -> None:
    assert addresses.worker_listen(listen, number) == wanted


def test_a_restarted_worker_is_told_the_address_it_had() -> None:
    assert addresses.listen_of("http://127.0.0.1:40123") == "127.0.0.1:40123"
    assert addresses.listen_of("http://[::1]:40123") == "[::1]:40123"


@pytest.mark.parametrize(
    ("asked", "admin", "target"),
    [
        ("10.0.0.5:9090", "http://127.0.0.1:9091", "127.0.0.1:9091"),
        ("10.0.0.5:9090", "http://0.0.0.0:9091", "10.0.0.5:9091"),
        ("heliograph.internal", "http://0.0.0.0:9091", "heliograph.internal:9091"),
        ("[fd00::5]:9090", "http://[::]:9091", "[fd00::5]:9091"),
        ("[::1]:9090", "http://[::1]:9091", "[::1]:9091"),
    ],
)
def test_targets_are_whoever_was_asked_and_the_workers_where_they_can_be_reached(
    asked: str, admin: str, target: str
) -> None:
    assert addresses.targets(asked, [admin]) == [{"targets": [asked, target]}]


def test_a_process_without_workers_is_its_own_only_target() -> None:
    assert addresses.targets("127.0.0.1:9090", []) == [{"targets": ["127.0.0.1:9090"]}]
