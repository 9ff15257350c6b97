"""Where what is to be verified comes from: a file with what stands beside it, or a URL and its siblings.

Of a URL nothing else is fetched, of a file nothing at all. Answers are bounded in size and time, redirects are not
followed: who names an address wants what is there.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Self

import aiohttp
from yarl import URL

from publisher.cli import canary_files as files
from publisher.cli.context import CommandError, CommandUsageError
from publisher.cli.verify_outcome import shown
from runtime.lifecycle import reason_of
from signer.statement import MAX_BYTES, signature_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

#: No document is longer; of canaries and signatures nothing longer than `signer.statement.MAX_BYTES` is taken.
MOST_BYTES = 4 * 2**20
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "heliograph-verify"}
_OK, _GONE = 200, frozenset({404, 410})
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CANARY = re.compile(r"(?P<base>.*/canary)(?:\.json|/history/(?P<number>[1-9][0-9]{0,8})(?:\.json)?)?")


class MissingError(CommandError):
    """A server says that there is nothing at an address."""


class FileSource:
    """A file, and the signatures beside it."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = path
        self.name = str(path)

    async def content(self) -> bytes:
        """Read it; raises `CommandUsageError`."""
        return files.read(self.path, MOST_BYTES)

    async def signatures(self, signers: Sequence[str] = ()) -> dict[str, bytes]:
        """Read whatever stands beside it, whoever may have made it."""
        del signers
        return {path.name: files.read(path) for path in files.signatures_beside(self.path)}


class UrlSource:
    """A URL; its signatures are at the same address with `.asc` after it."""

    def __init__(self, url: URL, web: Web, most: int = MOST_BYTES) -> None:
        """Nothing is fetched yet."""
        self.url = url
        self.name = str(url)
        self._web = web
        self._most = most

    async def content(self) -> bytes:
        """Fetch it; raises `CommandError`."""
        return await self._web.get(self.url, self._most)

    async def signatures(self, signers: Sequence[str] = ()) -> dict[str, bytes]:
        """Fetch that of each signer, and the one that names nobody; the same bytes once."""
        found: dict[str, bytes] = {}
        for suffix in (*(signature_name("", each) for each in signers), ".asc"):
            sibling = beside(self.url, suffix)
            try:
                content = await self._web.get(sibling, MAX_BYTES)
            except MissingError:
                continue
            if content not in found.values():
                found[sibling.name] = content
        return found

    def canary_number(self) -> int | None:
        """Return the number that the address itself names, None where it names none."""
        found = _CANARY.fullmatch(self.url.raw_path)
        return int(found["number"]) if found and found["number"] else None

    def predecessor(self, number: int) -> UrlSource:
        """Return where the canary with this number is in the history; raises `CommandUsageError`."""
        found = _CANARY.fullmatch(self.url.raw_path)
        if found is None:
            raise CommandUsageError(
                f"--chain: {self.url} does not end in /canary, /canary.json or /canary/history/NUMBER.json: "
                "where its history is, is not known"
            )
        path = f"{found['base']}/history/{number}.json"
        return UrlSource(self.url.with_path(path, encoded=True), self._web, MAX_BYTES)


class Web:
    """The client; an async context manager."""

    def __init__(self, timeout: float) -> None:
        """No request takes longer than `timeout` seconds."""
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open nothing yet: a file needs no network."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        if self._session is not None:
            await self._session.close()

    async def get(self, url: URL, most: int) -> bytes:
        """Return what is at `url`; raises `CommandError`, and `MissingError` where there is nothing."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
            )
        try:
            return await self._get(self._session, url, most)
        except TimeoutError:
            raise CommandError(f"{url}: no whole answer within {self._timeout:g} s (--timeout)") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CommandError(f"{url}: cannot be fetched ({shown(reason_of(error))})") from None

    async def _get(self, session: aiohttp.ClientSession, url: URL, most: int) -> bytes:
        async with session.get(url, allow_redirects=False) as response:
            if response.status in _GONE:
                raise MissingError(f"{url}: there is nothing ({response.status})")
            if "Location" in response.headers and response.status // 100 == 3:  # noqa: PLR2004 - redirects
                raise CommandError(f"{url}: leads elsewhere ({response.status}); name the address you mean")
            if response.status != _OK:
                raise CommandError(f"{url}: was answered {response.status}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise CommandError(f"{url}: came compressed, though that was not asked for")
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > most:
                    raise CommandError(f"{url}: is longer than {most} bytes")
        return bytes(content)


def of(text: str, web: Web) -> FileSource | UrlSource:
    """Return what `text` names; raises `CommandUsageError` for an address that is not fetched."""
    if not _SCHEME.match(text):
        return FileSource(Path(text))
    try:
        url = URL(text)
    except ValueError:
        raise CommandUsageError("this is no URL; https://host/path is one") from None
    if url.user is not None or url.password is not None:
        raise CommandUsageError("a URL with a user or a password in it is not fetched")
    is_fit = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host or ""))
    if not is_fit or not url.host:
        raise CommandUsageError(f"{shown(text)}: only https is fetched, and http from this machine itself")
    return UrlSource(url.with_fragment(None), web)


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine. Pure."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def beside(url: URL, suffix: str) -> URL:
    """Return the address with a suffix to its path, and without a query. Pure."""
    return url.with_path(url.raw_path + suffix, encoded=True)
