"""Where processes listen: one alone, and a parent with its workers, as Prometheus is told of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runtime.settings import listen_address

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Hosts one can listen on and nobody can call.
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not listened on
LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the listeners of a process are, as URLs."""

    api: str | None
    admin: str


def worker_listen(admin_listen: str, number: int) -> str:
    """Return where worker `number`, from 1, is to listen: as many ports above ADMIN_LISTEN, any free one above 0."""
    host, port = listen_address(admin_listen)
    wanted = port + number if port else 0
    return _address(host, wanted if wanted <= LAST_PORT else 0)


def listen_of(url: str) -> str:
    """Return the host:port of a listener's URL."""
    return urlsplit(url).netloc


def targets(asked: str, admins: Iterable[str]) -> list[dict[str, list[str]]]:
    """Return a target group of HTTP service discovery: who was asked, and the admin listeners (URLs) beside it.

    `asked` is the Host of the request. Who listens everywhere is found where the one that was asked was found.
    """
    found = [asked]
    for url in admins:
        parts = urlsplit(url)
        assert parts.hostname is not None  # noqa: S101 - a listener's URL has both
        assert parts.port is not None  # noqa: S101 - the same
        host = urlsplit(f"//{asked}").hostname or parts.hostname if parts.hostname in EVERYWHERE else parts.hostname
        found.append(_address(host, parts.port))
    return [{"targets": found}]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
