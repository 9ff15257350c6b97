"""How everybody else has things signed: asks the signing process, and remembers what it answered.

A document is signed once: signatures are kept by kind and SHA-256, and callers that ask for the same at the same time
share one answer. Answers of the API are kept only where the caller says that they are public: a clear-signed one holds
what was signed, perhaps a secret that is shown once. Only a signer that cannot be reached, or goes away before it
answers, is asked again: the connection is local, so that means it is being started.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from runtime.lifecycle import UnreachableError, until_reachable
from signer import protocol
from signer.metrics import Result
from signer.protocol import FrameError, Health, Kind, PublicKey, Refusal, Refused, Signed

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.clock import Clock
    from signer.metrics import SignerMetrics
    from signer.protocol import Reply, Request, SignRequest

#: Signatures kept: how many, how many bytes of them, and for how many seconds, so that a new key comes into use.
MOST_KEPT, MOST_BYTES, KEPT_FOR = 1024, 8 * 2**20, 3600.0


class SignerError(Exception):
    """There is no signature; the text says why and is fit for a log."""


class SignerUnavailableError(SignerError):
    """The signer cannot be reached, has too much to do, or did not answer in time: another time it may."""


class SignerRefusedError(SignerError):
    """The signer does not sign this; `reason` says why."""

    def __init__(self, reason: Refusal, text: str) -> None:
        """`text` is the sentence for people."""
        super().__init__(text)
        self.reason = reason


class _Key(NamedTuple):
    kind: Kind
    is_clear: bool
    sha256: bytes


class SignerClient:
    """Has documents and responses signed; one for each process."""

    def __init__(self, socket: Path, *, metrics: SignerMetrics, clock: Clock, timeout: float = 10.0) -> None:
        """No call takes longer than `timeout` seconds."""
        self._socket = socket
        self._metrics = metrics
        self._clock = clock
        self._timeout = timeout
        self._kept = Kept(clock)
        self._asked: dict[_Key, asyncio.Task[bytes]] = {}

    async def sign_document(self, content: bytes) -> bytes:
        """Return the armored detached signature of a feed's document. Raises `SignerError`."""
        return await self._signed(Kind.FEED_DOCUMENT, content, is_clear=False, keeps=True)

    async def detach(self, content: bytes, *, is_public: bool = False) -> bytes:
        """Return the armored detached signature of an API's answer. Raises `SignerError`."""
        return await self._signed(Kind.RESPONSE, content, is_clear=False, keeps=is_public)

    async def clearsign(self, content: bytes, *, is_public: bool = False) -> bytes:
        """Return an API's answer as a clear-signed document. Raises `SignerError`.

        A content with a line of more than 19,993 bytes is refused (`Refusal.NOT_CLEAR_SIGNABLE`).
        """
        return await self._signed(Kind.RESPONSE, content, is_clear=True, keeps=is_public)

    async def public_key(self) -> PublicKey:
        """Return what signatures are verified with. Raises `SignerError`."""
        reply = await self._ask(protocol.AskPublicKey())
        if not isinstance(reply, PublicKey):
            raise _error(reply)
        return reply

    async def health(self) -> Health:
        """Return how the signer is. Raises `SignerError`."""
        reply = await self._ask(protocol.AskHealth())
        if not isinstance(reply, Health):
            raise _error(reply)
        return reply

    async def _signed(self, kind: Kind, content: bytes, *, is_clear: bool, keeps: bool) -> bytes:
        key = _Key(kind, is_clear, hashlib.sha256(content).digest())
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        asking = self._asked.get(key)
        if asking is None:
            request: SignRequest = (
                protocol.SignDocument(content)
                if kind is Kind.FEED_DOCUMENT
                else protocol.SignResponse(content, is_clear=is_clear)
            )
            asking = asyncio.create_task(self._have_signed(key, request, keeps=keeps))
            self._asked[key] = asking
            asking.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(asking)  # who is cancelled does not take the answer from the others

    def _forget(self, key: _Key, done: asyncio.Task[bytes]) -> None:
        del self._asked[key]
        if not done.cancelled():
            done.exception()  # nobody may be left to hear of it

    async def _have_signed(self, key: _Key, request: SignRequest, *, keeps: bool) -> bytes:
        began = self._clock.monotonic()
        result = Result.UNAVAILABLE
        try:
            reply = await self._ask(request)
            if not isinstance(reply, Signed):
                error = _error(reply)
                result = _result_of(error)
                raise error
            result = Result.SIGNED
            self._metrics.duration.labels(key.kind).observe(self._clock.monotonic() - began)
        except SignerRefusedError as error:
            result = _result_of(error)
            raise
        finally:
            self._metrics.signatures.labels(key.kind, result).inc()
        if keeps:
            self._kept.put(key, reply.content)
        return reply.content

    async def _ask(self, request: Request) -> Reply:
        """Exchange one request for its reply; raises `SignerError`."""
        if isinstance(request, protocol.SignDocument | protocol.SignResponse):
            size = len(request.content)
            if size > protocol.MAX_CONTENT:
                raise SignerRefusedError(Refusal.TOO_LARGE, f"{size} bytes are more than a signer signs at once")
        frame = protocol.encode(request)
        try:
            return await until_reachable(
                "the signer",
                str(self._socket),
                partial(self._exchange, frame),
                errors=(OSError, asyncio.IncompleteReadError),
                timeout=self._timeout,
            )
        except UnreachableError as error:
            raise SignerUnavailableError(str(error)) from None
        except FrameError as error:
            raise SignerUnavailableError(f"what answers at {self._socket} is no signer ({error})") from None

    async def _exchange(self, frame: bytes) -> Reply:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(frame)
            await writer.drain()
            return await protocol.read_reply(reader)
        finally:
            writer.transport.abort()


class Kept:
    """Signatures that were made, the ones asked for last: bounded in number, size and age."""

    def __init__(self, clock: Clock) -> None:
        """`clock` says how old they are."""
        self._clock = clock
        self._entries: OrderedDict[_Key, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def get(self, key: _Key) -> bytes | None:
        """Return what is kept, None where nothing is."""
        made_at, content = self._entries.get(key, (0.0, None))
        if content is None:
            return None
        if self._clock.monotonic() - made_at >= KEPT_FOR:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return content

    def put(self, key: _Key, content: bytes) -> None:
        """Keep one, and let go of the ones not asked for longest."""
        if len(content) > MOST_BYTES:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = (self._clock.monotonic(), content)
        self._bytes += len(content)
        while len(self._entries) > MOST_KEPT or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: _Key) -> None:
        _, content = self._entries.pop(key)
        self._bytes -= len(content)


def _error(reply: Reply) -> SignerError:
    if not isinstance(reply, Refused):
        return SignerUnavailableError("the signer answers something else than it was asked")
    if reply.reason is Refusal.BUSY:
        return SignerUnavailableError(f"the signer has too much to do ({reply.text})")
    return SignerRefusedError(reply.reason, reply.text)


def _result_of(error: SignerError) -> Result:
    if not isinstance(error, SignerRefusedError):
        return Result.UNAVAILABLE
    return Result.FAILED if error.reason is Refusal.FAILED else Result.REFUSED
