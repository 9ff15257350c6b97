"""The public keys of the control plane, fetched from where it publishes them (a JWKS, RFC 7517).

Fetched beside the requests: a look now and then, and one more when a token names a key we do not have, but not again
within the cooldown, whatever tokens name. While a fetch fails the old keys go on. PyJWT's own client would block.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import jwt
import orjson
from jwt.algorithms import requires_cryptography

from publisher.api.errors import ApiError
from publisher.profiles.model import Fault
from runtime.lifecycle import first_of, reason_of
from runtime.settings import variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runtime.clock import Clock
    from runtime.settings import Settings

    Known = Mapping[tuple[str | None, str], Any]

logger = logging.getLogger(__name__)

#: Signed by one side, checked by another.
ASYMMETRIC = frozenset(requires_cryptography)
MAX_BYTES = 262_144
FETCH_SECONDS = 5.0
_HEADERS = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
_OK = 200


class InvalidKeySetError(Exception):
    """What was fetched is no key set; the text says why."""


class KeySet:
    """The keys as they were fetched last; to be run beside the requests."""

    def __init__(self, url: str, algorithms: Sequence[str], clock: Clock, *, refresh: float, cooldown: float) -> None:
        """Fetch from `url` every `refresh` seconds; for the sake of unknown keys not again within `cooldown`.

        Raises ValueError for an algorithm with a shared secret: a published key must never be taken for one.
        """
        if unfit := set(algorithms) - ASYMMETRIC:
            raise ValueError(f"not for published keys: {', '.join(sorted(unfit))}")
        self.algorithms = tuple(algorithms)
        self._url = url
        self._clock = clock
        self._refresh = refresh
        self._cooldown = cooldown
        self._session: aiohttp.ClientSession | None = None
        self._known: Known | None = None
        self._looking: asyncio.Task[bool] | None = None
        self._rests_until = clock.monotonic()

    @classmethod
    def of(cls, settings: Settings, url: str, clock: Clock) -> Self:
        """Return what settings say, which have been checked."""
        return cls(
            url,
            settings.jwt_algorithms,
            clock,
            refresh=settings.jwt_jwks_refresh,
            cooldown=settings.jwt_jwks_cooldown,
        )

    async def key(self, algorithm: str, key_id: str | None) -> Any:  # noqa: ANN401 - any kind of public key
        """Return a key by its id, or the only one there is for a token that names none; None where there is none.

        Raises `ApiError` (unavailable) while no key set has ever been had.
        """
        found = self._find(algorithm, key_id)
        if found is None:
            await self._look()
            found = self._find(algorithm, key_id)
        if self._known is None:
            raise ApiError(
                Fault.UNAVAILABLE,
                "temporarily_unavailable",
                "Tokens cannot be checked at the moment. Try again.",
                headers={"Retry-After": "2"},
            )
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch now and then until `stop`; sooner again where that fails."""
        async with _session() as session:
            self._session = session
            try:
                while not stop.is_set():
                    is_fetched = await self._fetch()
                    await first_of(stop, self._refresh if is_fetched else min(self._refresh, self._cooldown))
            finally:
                self._session = None

    async def count(self) -> int:
        """Fetch once and return how many keys can be used; raises what is wrong. For whoever only wants to know."""
        async with _session() as self._session:
            return len(keys_of(await self._download(), self.algorithms))

    def _find(self, algorithm: str, key_id: str | None) -> Any:  # noqa: ANN401 - any kind of public key
        known = self._known or {}
        if key_id is not None:
            return known.get((key_id, algorithm))
        fitting = [key for (_, fits), key in known.items() if fits == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _look(self) -> None:
        """Fetch for the sake of a key we do not have; those who need that at the same time wait for the same fetch."""
        if self._looking is None:
            if self._session is None or self._clock.monotonic() < self._rests_until:
                return
            self._rests_until = self._clock.monotonic() + self._cooldown
            self._looking = asyncio.create_task(self._fetch(), name="fetch the key set")
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, _: asyncio.Task[bool]) -> None:
        self._looking = None

    async def _fetch(self) -> bool:
        """Take the keys that are published now; say whether that worked, and go on with the old ones where not."""
        try:
            self._known = keys_of(await self._download(), self.algorithms)
        except Exception as error:  # whatever network or document, the old keys are better than none
            logger.warning(
                "%s: no key set (%s); %s",
                *(variable("jwt_jwks_url"), reason_of(error)),
                "tokens are not judged" if self._known is None else "the old keys go on",
            )
            return False
        if not self._known:
            logger.error("%s: there is no key in it that can be used: every token is refused", variable("jwt_jwks_url"))
        return True

    async def _download(self) -> bytes:
        assert self._session is not None  # noqa: S101 - fetched only while it runs
        async with self._session.get(self._url, allow_redirects=False) as response:
            if response.status != _OK:
                raise InvalidKeySetError(f"status {response.status}")
            content = b""
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise InvalidKeySetError(f"more than {MAX_BYTES} bytes")
        return content


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        auto_decompress=False,
    )


def keys_of(document: bytes, algorithms: Sequence[str]) -> Known:
    """Return the keys of a JWKS that can check signatures, by id and algorithm; raises `InvalidKeySetError`. Pure.

    Left out are keys for encryption, shared secrets, private halves, those too short, those of other algorithms, and
    what cannot be read.
    """
    try:
        listed = orjson.loads(document)["keys"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise InvalidKeySetError("it is not a JSON object with `keys`") from None
    if not isinstance(listed, list):
        raise InvalidKeySetError("its `keys` are no list")
    found: dict[tuple[str | None, str], Any] = {}
    for each in listed:
        if isinstance(each, dict) and _is_for_signatures(each):
            for algorithm in algorithms:
                if (key := _key(each, algorithm)) is not None:
                    found.setdefault((each.get("kid"), algorithm), key)
    return found


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        "d" not in jwk
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(jwk.get("kid", ""), str)
    )


def _key(jwk: dict[str, Any], algorithm: str) -> Any:  # noqa: ANN401 - any kind of public key
    """Return the key where it is one of this algorithm; None otherwise."""
    if jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        made = jwt.PyJWK(jwk, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return None if made.Algorithm.check_key_length(made.key) else made.key
