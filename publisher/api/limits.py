"""How often a caller may ask, told on every answer.

The library `limits` counts (counters.py says where and how); this file says what is counted against which limit, and
what a caller is told of it. A caller is kept as a keyed hash only, an IPv6 address as its /64, which is what one
customer of an access network has.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import socket
from typing import TYPE_CHECKING, NamedTuple, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from limits import RateLimitItemPerSecond

from publisher.api.counters import MemoryCounters, SharedCounters, SlidingWindow
from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publisher.api.counters import Counted, Window
    from publisher.profiles.model import LimitClass, Limits
    from runtime.clock import Clock
    from runtime.settings import Settings

logger = logging.getLogger(__name__)

#: What the subjects of callers without a credential begin with.
ADDRESS = "address:"
#: Bytes of a subject's hash that are kept.
SUBJECT_BYTES = 16
#: The network an IPv6 address counts as, in bytes; and what IPv4 addresses look like among them.
NETWORK_BYTES = 8
MAPPED = bytes(10) + b"\xff\xff"
#: Seconds a request waits for the shared store, and after which a store that failed is tried again.
PATIENCE = 0.1
RETRY = 1.0
#: Seconds two readings of a window's times may differ: Redis counts milliseconds.
SLACK = 0.002
#: Subjects whose hashes are held.
MOST_NAMED = 1024
#: So that 0.29 x 100 is 29, which it is not in binary.
ROUNDING = 1e-9


class Standing(NamedTuple):
    """How a caller stands after a request.

    `reset` is unix seconds: the first whole second at which a request is let through again, for one that was refused;
    otherwise the end of the current window. `retry_after` is how many seconds that is from now, rounded up.
    """

    policy: LimitClass
    limit: int
    remaining: int
    reset: int
    retry_after: int
    is_allowed: bool

    def headers(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return what the answer says of it, in the texts of `texts_of`."""
        headers = {name: self.said(text) for name, text in texts.items()}
        if not self.is_allowed:
            headers["Retry-After"] = str(self.retry_after)
        return headers

    def said(self, text: str) -> str:
        """Return a text of `texts_of` with this in its places."""
        return text % {
            "policy": self.policy,
            "limit": self.limit,
            "remaining": self.remaining,
            "reset": self.reset,
            "wait": self.retry_after,
        }


def texts_of(limits: Limits) -> dict[str, str]:
    """Return what every answer tells: the profile's headers, and those of the IETF's draft, with places. Pure.

    The draft is draft-ietf-httpapi-ratelimit-headers-10: lists of one string each, with the quota `q` per window of `w`
    seconds, and what remains `r` with the seconds `t` until there is more.
    """
    names = limits.headers
    of = {names.limit: "%(limit)d", names.remaining: "%(remaining)d", names.reset: "%(reset)d"}
    headers = {name: text for name, text in of.items() if name is not None}
    if names.draft:
        headers["RateLimit-Policy"] = f'"%(policy)s";q=%(limit)d;w={limits.window}'
        headers["RateLimit"] = '"%(policy)s";r=%(remaining)d;t=%(wait)d'
    return headers


class Limiter:
    """Counts requests by class and subject; in the shared store where there is one and it answers, else here."""

    def __init__(
        self,
        limits: Limits,
        *,
        key: bytes,
        clock: Clock,
        shared: SharedCounters | None = None,
        patience: float = PATIENCE,
        retry: float = RETRY,
    ) -> None:
        """`key` hashes subjects; `patience` and `retry` are seconds, see the constants of those names."""
        self._limits = limits
        self._key = key
        self._clock = clock
        #: Those with a credential apart from those without: who comes with a hundred thousand addresses fills a table,
        #: and no customer is to share what is left of it.
        self._here = MemoryCounters(clock)
        self._callers, self._addresses = SlidingWindow(MemoryCounters(clock)), SlidingWindow(self._here)
        self._strangers = limits.tier(None).rate
        self._store = shared
        self._shared = SlidingWindow(shared) if shared else None
        self._patience = patience
        self._retry = retry
        #: When the shared store is tried again, on the monotonic clock; None while it answers.
        self._next_try: float | None = None
        self._items: dict[tuple[LimitClass, float], RateLimitItemPerSecond] = {}
        #: Of those who asked last, for no longer than a window: many requests come from one.
        self._pseudonyms: dict[str, str] = {}
        self._keys: dict[tuple[LimitClass, str], str] = {}
        self._named_until = 0.0

    @classmethod
    def of(cls, settings: Settings, limits: Limits, clock: Clock) -> Self:
        """Return the limiter of a configuration; one with the same SECRET_KEYS and store shares its counters."""
        url = settings.shared_store()
        shared = None if url is None else SharedCounters(url)
        return cls(limits, key=subject_key(settings.keys()), clock=clock, shared=shared)

    async def hit(self, policy: LimitClass, subject: str, rate: float) -> Standing:
        """Count one request of `subject`; `rate` multiplies the class's limit. A refused one does not count."""
        item = self._item(policy, rate)
        local = self._addresses if subject.startswith(ADDRESS) else self._callers
        counted = await self._count(item, self._pseudonym(subject), local)
        return standing(policy, item.amount, self._limits.window, counted, self._clock.unix())

    def hit_at_once(self, policy: LimitClass, subject: str) -> Standing | None:
        """Count a request of somebody without a credential as `hit` does; None where a shared store has to be asked."""
        if self._shared is not None:
            return None
        item = self._item(policy, self._strangers)
        pseudonym = self._pseudonym(subject)  # first: what is remembered of a window ends here
        key = self._keys.get((policy, subject))
        if key is None:
            key = self._keys[policy, subject] = item.key_for(pseudonym)
        counted = self._here.count_now(key, item.amount, self._limits.window)
        return standing(policy, item.amount, self._limits.window, counted, self._clock.unix())

    def _item(self, policy: LimitClass, rate: float) -> RateLimitItemPerSecond:
        item = self._items.get((policy, rate))
        if item is None:
            limit = max(1, math.floor(self._limits.classes[policy] * rate + ROUNDING))
            item = self._items[policy, rate] = RateLimitItemPerSecond(limit, self._limits.window, policy)
        return item

    def _pseudonym(self, subject: str) -> str:
        """Return what a subject is counted under; its hash is made once in a window."""
        now = self._clock.monotonic()
        if now >= self._named_until or len(self._pseudonyms) >= MOST_NAMED:
            self._pseudonyms.clear()
            self._keys.clear()
            self._named_until = now + self._limits.window
        found = self._pseudonyms.get(subject)
        if found is None:
            found = self._pseudonyms[subject] = pseudonym(self._key, subject)
        return found

    async def aclose(self) -> None:
        """Close the connections to a shared store."""
        if self._store is not None:
            await self._store.aclose()

    async def _count(self, item: RateLimitItemPerSecond, subject: str, local: SlidingWindow) -> Counted:
        shared, next_try = self._shared, self._next_try
        if shared is None:
            return await local.count(item, subject)
        if next_try is not None:
            now = self._clock.monotonic()
            if now < next_try:
                return await local.count(item, subject)
            self._next_try = now + self._retry  # one request tries, those beside it do not wait for it
        try:
            async with asyncio.timeout(self._patience):
                counted = await shared.count(item, subject)
        except Exception as error:  # a caller is not to suffer from whatever ails the store
            if self._next_try is None:
                logger.warning("RATELIMIT_STORE is away, each process counts for itself (%s)", reason_of(error))
            self._next_try = self._clock.monotonic() + self._retry
            return await local.count(item, subject)
        if next_try is not None:
            self._next_try = None
            logger.info("RATELIMIT_STORE is back")
        return counted


def subject_key(secret_keys: dict[str, bytes]) -> bytes:
    """Derive the key of pseudonyms from the at-rest keys, the first of them (RFC 5869). Pure."""
    first = next(iter(secret_keys.values()))
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"heliograph rate limits").derive(first)


def pseudonym(key: bytes, subject: str) -> str:
    """Return what a subject is counted under: HMAC-SHA256, cut to 128 bits, in hex. Pure."""
    if subject.startswith(ADDRESS):
        subject = ADDRESS + network_of(subject.removeprefix(ADDRESS))
    return hmac.digest(key, subject.encode(), "sha256")[:SUBJECT_BYTES].hex()


def network_of(address: str) -> str:
    """Return the part of an address that stands for one caller; what is no IPv6 address stands for itself. Pure."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    if packed.startswith(MAPPED):
        return socket.inet_ntoa(packed.removeprefix(MAPPED))
    return packed[:NETWORK_BYTES].hex()


def standing(policy: LimitClass, limit: int, expiry: int, counted: Counted, now: float) -> Standing:
    """Return how a caller stands, at `now` in unix seconds. Pure."""
    window = counted.window
    if counted.is_allowed:
        taken = int(window.previous * window.previous_ttl / expiry) + window.current
        remaining = max(0, limit - taken)
        reset = math.ceil(now + window.current_ttl - expiry)
    else:
        remaining = 0
        reset = math.floor(now + wait(window, limit, expiry) + SLACK) + 1
    return Standing(policy, limit, remaining, reset, math.ceil(reset - now), counted.is_allowed)


def wait(window: Window, limit: int, expiry: int) -> float:
    """Return the seconds after which one request is let through if none is counted before; 0 for now. Pure.

    It is let through when less than `limit` is taken: the current count and what the previous one still weighs. The
    moment itself is still too early, any later one is not. The library's `get_window_stats` says when the weight next
    falls by one, which is too early where the current window becomes the previous one with all its weight.
    """
    free = limit - window.current
    if free <= 0:
        # The next window begins with all of this one's weight.
        return window.current_ttl - expiry + expiry * (1 - limit / window.current)
    if window.previous * window.previous_ttl < free * expiry:
        return 0.0
    return window.previous_ttl - expiry * free / window.previous
