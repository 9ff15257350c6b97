"""Where requests are counted: in this process, or in a Redis that several processes share.

Both are storages of the library `limits`, on its own extension point, for its sliding window counter: a request
weighs in fully within the current window of `expiry` seconds, and those of the window before by the part of it that
the last `expiry` seconds still cover. What they add is `count`: the verdict and the window it was given on, in one
step, because an answer tells both and a second question would cost a second way to the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import redis.asyncio
from limits.aio.storage import RedisStorage, SlidingWindowCounterSupport, Storage
from limits.aio.storage.redis.bridge import RedisBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from limits import RateLimitItem

    from runtime.clock import Clock

#: Subjects this process tells apart within one window. Those beyond share one counter for each class: an attacker
#: with many addresses may fill two tables of some 14 MB each, but not the memory, nor does it get around the limit.
MOST_SUBJECTS = 100_000
#: Connections to a shared store, and what its keys begin with.
CONNECTIONS = 32
PREFIX = "heliograph"


class Window(NamedTuple):
    """How a counter stands, as `limits` has it: counts, and the seconds each is kept for.

    `current_ttl` is one whole window more than the current one has left; `previous_ttl` is what is left, or 0 where
    nothing was counted.
    """

    previous: int
    previous_ttl: float
    current: int
    current_ttl: float


class Counted(NamedTuple):
    """The verdict on one request, and the window with that request in it if it was let through."""

    is_allowed: bool
    window: Window


class SlidingWindow(SlidingWindowCounterRateLimiter):
    """The library's strategy, which also says how the window stands."""

    def __init__(self, storage: MemoryCounters | SharedCounters) -> None:
        """Count in `storage`."""
        super().__init__(storage)
        self._counters = storage

    async def count(self, item: RateLimitItem, subject: str) -> Counted:
        """Do what `hit` does and return more of it; raises whatever the storage raises."""
        return await self._counters.count(item.key_for(subject), item.amount, item.get_expiry())


class _Generations:
    """The counters of one window and of the one before it."""

    __slots__ = ("current", "number", "previous")

    def __init__(self, number: float) -> None:
        self.number = number
        self.previous: dict[str, int] = {}
        self.current: dict[str, int] = {}

    def move_on(self, number: float) -> None:
        self.previous = self.current if number == self.number + 1 else {}
        self.current = {}
        self.number = number


class MemoryCounters(Storage, SlidingWindowCounterSupport):
    """Counts in this process.

    Windows begin at whole multiples of their length on the clock. When one is over its counters become the previous
    generation, and that one is dropped whole: no request looks at another's counter, and there is nothing to sweep.
    Nothing awaits between look and count, so two requests cannot take the same place.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock, most: int = MOST_SUBJECTS) -> None:
        """Tell at most `most` subjects apart within a window."""
        super().__init__()
        self._clock = clock
        self._most = most
        self._generations: dict[int, _Generations] = {}

    async def count(self, key: str, limit: int, expiry: int, amount: int = 1) -> Counted:
        """Count `amount` requests unless they are too many."""
        return self.count_now(key, limit, expiry, amount)

    def count_now(self, key: str, limit: int, expiry: int, amount: int = 1) -> Counted:
        """Do so without giving way to anybody."""
        held, left = self._now(expiry)
        slot = key if len(held.current) < self._most or key in held.current else key.partition("/")[0]
        previous, current = held.previous.get(slot, 0), held.current.get(slot, 0)
        is_allowed = int(previous * left / expiry) + current + amount <= limit
        if is_allowed:
            current += amount
            held.current[slot] = current
        return Counted(is_allowed, _window(previous, current, left, expiry))

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Do the same for the library's own `hit`."""
        return (await self.count(key, limit, expiry, amount)).is_allowed

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return how a counter stands."""
        held, left = self._now(expiry)
        return _window(held.previous.get(key, 0), held.current.get(key, 0), left, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget one counter."""
        held, _ = self._now(expiry)
        held.previous.pop(key, None)
        held.current.pop(key, None)

    def __len__(self) -> int:
        """Return how many counters are held."""
        return sum(len(held.previous) + len(held.current) for held in self._generations.values())

    def _now(self, expiry: int) -> tuple[_Generations, float]:
        """Return the counters of windows of that length, and the seconds the current one has left."""
        number, gone = divmod(self._clock.monotonic(), expiry)
        held = self._generations.get(expiry)
        if held is None:
            held = self._generations[expiry] = _Generations(number)
        elif held.number != number:
            held.move_on(number)
        return held, expiry - gone

    # --- what the library asks of every storage, for strategies that are not used here --------------------------------

    @property
    def base_exceptions(self) -> type[Exception]:
        """What can go wrong with the storage itself: nothing."""
        return ValueError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not kept: fixed windows."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Not kept: fixed windows."""
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        """Not kept: fixed windows."""
        raise NotImplementedError

    async def clear(self, key: str) -> None:
        """Not kept: fixed windows."""
        raise NotImplementedError

    async def check(self) -> bool:
        """Memory is always there."""
        return True

    async def reset(self) -> int:
        """Forget everything; return how much that was."""
        held = len(self)
        self._generations.clear()
        return held


def _window(previous: int, current: int, left: float, expiry: int) -> Window:
    return Window(previous, left if previous else 0.0, current, left + expiry)


class SharedCounters(RedisStorage):
    """Counts in Redis, where every key expires by itself after two windows at most.

    The library's two scripts, taking an entry and looking at the window, run as one: that is one way to the store, and
    nobody else counts in between.
    """

    #: Both scripts read ARGV; the second one's is its first parameter, which shadows it.
    SCRIPT = (
        f"local function acquire()\n{RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW.decode()}\nend\n"
        f"local function look(ARGV)\n{RedisBridge.SCRIPT_SLIDING_WINDOW.decode()}\nend\n"
        "local acquired = acquire()\n"
        "return {acquired and 1 or 0, look({ARGV[2]})}"
    )

    def __init__(self, url: str) -> None:
        """Count at `url`: redis://, rediss:// or unix://; nothing is opened before the first request."""
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            retry=Retry(NoBackoff(), 0),  # a request whose answer was lost may have been counted
        )
        super().__init__(
            "async+redis://",  # the pool knows where; so no address or password stands in the library's own objects
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=pool,  # type: ignore[arg-type]  # documented, but typed as a plain value
        )
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._script = self._client.register_script(self.SCRIPT)

    async def count(self, key: str, limit: int, expiry: int, amount: int = 1) -> Counted:
        """Count `amount` requests unless they are too many; raises what redis-py raises."""
        names = [self._previous_window_key(key), self._current_window_key(key)]
        acquired, (previous, previous_ttl, current, current_ttl) = await self._script(
            keys=[self.bridge.prefixed_key(name) for name in names], args=[limit, expiry, amount]
        )
        window = Window(
            int(previous or 0), max(0, previous_ttl) / 1000, int(current or 0), max(0, current_ttl) / 1000
        )  # Redis says -2 milliseconds of what is not there
        return Counted(bool(acquired), window)

    async def ping(self) -> None:
        """Return when the store answers; raises what redis-py raises."""
        await self._client.get("heliograph")  # `ping` is typed for two worlds at once

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
