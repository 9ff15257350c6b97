"""The routes of the canary: how it stands, the exact bytes that were signed, each signature, and those of all before.

What is served of the newest is made once and kept: a request costs neither the database nor gpg. A cache is to ask
again each time for the bytes and the signatures of the newest, or a reader would have new bytes and an old signature;
they name the address in the history (Content-Location) at which the same may be kept for a year.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import orjson
from aiohttp import hdrs

from feeds import canary, documents
from feeds.documents import Feed
from feeds.routes import Described, NothingHereError, Stored
from feeds.serving import Fixed
from signer.statement import signature_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aiohttp import web

    from feeds.canary import Watched
    from feeds.canary_standing import Standing
    from feeds.documents import Published
    from feeds.routes import Route
    from runtime.clock import Clock
    from runtime.database import Pool
    from signer.canary_dates import State

PATH = "/transparency/canary"
HISTORY = f"{PATH}/history"
JSON, SIGNATURE = "application/json", "application/pgp-signature"
OPEN: Mapping[str, str] = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
#: A document of the history never changes.
KEPT: Mapping[str, str] = {**OPEN, hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable"}
ASKED_AGAIN: Mapping[str, str] = {**OPEN, hdrs.CACHE_CONTROL: "public, no-cache"}
#: A number of the history, written in one way.
NUMBER = re.compile(r"[1-9][0-9]{0,9}")
#: Connections that readers of the history, who are strangers, may hold at once.
CONNECTIONS = 2

_OF_BYTES = ("Last-Modified", "Link")
_OF_NEWEST = (*_OF_BYTES, "Content-Location")
VIEW = Described(
    PATH,
    "get_canary",
    "Show the warrant canary and how it stands now.",
    "Answers 200 in every state, also where there is none. The state is made from the dates that were signed. What is "
    "not signed is this view: `signed.document` is, and verifies offline.",
    JSON,
    headers=("Last-Modified",),
)
NEWEST = Described(
    f"{PATH}.json",
    "get_canary_document",
    "Get the newest canary as it was signed, byte for byte.",
    "What its signatures cover. `Content-Location` is where these very bytes stay.",
    JSON,
    may_be_missing=True,
    headers=_OF_NEWEST,
)
NEWEST_FIRST = Described(
    f"{PATH}.json.asc",
    "get_canary_signature",
    "Get the detached signature of the newest canary's first signer.",
    "The first by fingerprint; `Link` names those of all of them.",
    SIGNATURE,
    may_be_missing=True,
    headers=_OF_NEWEST,
)
NEWEST_BY = Described(
    f"{PATH}.json.{{signer}}.asc",
    "get_canary_signature_by",
    "Get the detached signature of one of the newest canary's signers.",
    "Named as the operator's tool names the file.",
    SIGNATURE,
    may_be_missing=True,
    headers=_OF_NEWEST,
)
OLD = Described(
    f"{HISTORY}/{{sequence}}.json",
    "get_canary_of_history_document",
    "Get a canary of the history as it was signed, byte for byte.",
    "Never changes.",
    JSON,
    may_be_missing=True,
    headers=_OF_BYTES,
)
OLD_FIRST = Described(
    f"{HISTORY}/{{sequence}}.json.asc",
    "get_canary_of_history_signature",
    "Get the detached signature of the first signer of a canary of the history.",
    "The first by fingerprint; `Link` names those of all of them.",
    SIGNATURE,
    may_be_missing=True,
    headers=_OF_BYTES,
)
OLD_BY = Described(
    f"{HISTORY}/{{sequence}}.json.{{signer}}.asc",
    "get_canary_of_history_signature_by",
    "Get the detached signature of one of the signers of a canary of the history.",
    "Never changes.",
    SIGNATURE,
    may_be_missing=True,
    headers=_OF_BYTES,
)
#: The list and the single canary of the history are ordinary operations of the API.
DESCRIBED = (VIEW, NEWEST, NEWEST_FIRST, NEWEST_BY, OLD, OLD_FIRST, OLD_BY)


class _View(NamedTuple):
    """The view as it is while neither standing nor state change."""

    standing: Standing
    state: State
    ends: datetime | None
    fixed: Fixed


def routes(watch: Watched, pool: Pool, clock: Clock, *, url: str) -> list[Route]:
    """Return the routes; `url` is where the API is for the public, with its base path."""
    served = _Served(watch, pool, clock, f"{url.rstrip('/')}{HISTORY}")
    return [
        VIEW.by(served.view, served.stored_view),
        NEWEST.by(served.newest, partial(served.stored, NEWEST.path.rpartition("/")[2])),
        NEWEST_FIRST.by(served.newest, partial(served.stored, NEWEST_FIRST.path.rpartition("/")[2])),
        NEWEST_BY.by(served.newest),
        OLD.by(served.old),
        OLD_FIRST.by(served.old),
        OLD_BY.by(served.old),
    ]


class _Served:
    def __init__(self, watch: Watched, pool: Pool, clock: Clock, history_url: str) -> None:
        self._watch = watch
        self._pool = pool
        self._clock = clock
        self._history_url = history_url
        self._view: _View | None = None
        self._just_now: tuple[int, Standing, Stored] | None = None
        self._files: tuple[Published, Mapping[str, Fixed]] | None = None
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def view(self, request: web.Request) -> web.Response:
        return self.stored_view().answer(request)

    def stored_view(self) -> Stored:
        """Return the view; how long it may be kept is counted from now, in seconds. A canary's dates are whole ones."""
        standing, second = self._watch.standing, int(self._clock.unix())
        if self._just_now is None or self._just_now[0] != second or self._just_now[1] is not standing:
            self._just_now = second, standing, self._stored_view(standing)
        return self._just_now[2]

    def _stored_view(self, standing: Standing) -> Stored:
        now, kept = self._clock.now(), self._view
        if kept is None or kept.standing is not standing or kept.state is not standing.state(now):
            kept = self._view = self._made(standing, now)
        age = canary.max_age(kept.ends, now)
        return Stored(kept.fixed, f"public, max-age={age}, must-revalidate")

    async def newest(self, request: web.Request) -> web.Response:
        found = self.stored(request.path.rpartition("/")[2])
        if found is None:
            raise NothingHereError
        return found.answer(request)

    def stored(self, name: str) -> Stored | None:
        """Return a file of the newest canary, None where there is none."""
        published = self._watch.standing.published
        if published is None:
            return None
        if self._files is None or self._files[0] is not published:
            self._files = published, files(published, PATH.rpartition("/")[2], ASKED_AGAIN, place=True)
        fixed = self._files[1].get(name)
        return None if fixed is None else Stored(fixed)

    async def old(self, request: web.Request) -> web.Response:
        number = request.match_info["sequence"]
        if not NUMBER.fullmatch(number):
            raise NothingHereError
        async with self._turns, self._pool.acquire() as connection:
            published = await documents.read(connection, Feed.CANARY, int(number))
        if published is None:
            raise NothingHereError
        return _found(files(published, number, KEPT), request.path.rpartition("/")[2]).answer(request)

    def _made(self, standing: Standing, now: datetime) -> _View:
        content = orjson.dumps(canary.view(standing, now, self._history_url))
        fixed = Fixed(content, JSON, OPEN, modified=canary.modified(standing, now), packs=False)
        return _View(standing, standing.state(now), canary.until(standing, now), fixed)


def files(published: Published, stem: str, headers: Mapping[str, str], *, place: bool = False) -> dict[str, Fixed]:
    """Return what is served of a canary by name: its bytes, its first signature, each one by its signer. Pure.

    Names begin with `stem`. Each names all signatures in `Link`, and with `place` where it stays in the history.
    """
    document = f"{stem}.json"
    by_name = {signature_name(document, each.fingerprint): each.armored for each in published.signatures}
    named = dict(by_name)
    if published.signatures:
        named[f"{document}.asc"] = published.signatures[0].armored
    described = dict(headers)
    if by_name:
        described[hdrs.LINK] = ", ".join(f'<{name}>; rel="related"; type="{SIGNATURE}"' for name in by_name)

    def fixed(name: str, content: bytes, content_type: str) -> Fixed:
        own = dict(described)
        if place:
            own[hdrs.CONTENT_LOCATION] = f"{stem}/history/{published.number}{name.removeprefix(stem)}"
        return Fixed(content, content_type, own, modified=published.published_at, packs=False)

    made = {document: fixed(document, published.content, JSON)}
    return made | {name: fixed(name, armored, SIGNATURE) for name, armored in named.items()}


def _found(made: Mapping[str, Fixed], name: str) -> Fixed:
    if name not in made:
        raise NothingHereError
    return made[name]
