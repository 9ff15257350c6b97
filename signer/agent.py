"""The signing process: the feed key behind a unix socket, with no network, no database and nothing else to do.

    connection -> one request, in time and of a size -> Keyring -> one reply -> closed

Whoever can open the socket can have things signed as feed documents or responses, and cannot get at the key. The socket
is 0600 in a folder of 0700; or it comes from systemd, which gives it to the service's user. Nothing of what is signed
is logged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket as sockets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from runtime import logs, settings
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, cancel, reason_of, stop_on_signals, stop_when_stdin_ends
from signer import feed_key, protocol
from signer.faults import AgentError, BusyError, NotClearSignableError, PgpError
from signer.pgp import Keyring
from signer.protocol import FrameError, Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from runtime.clock import Clock
    from signer.feed_key import FeedKey
    from signer.protocol import Reply, Request, SignRequest

logger = logging.getLogger(__name__)

#: The first descriptor systemd passes (sd_listen_fds(3)).
_FIRST_PASSED = 3
#: What is no fault of the key's or of gpg's.
_REFUSALS = ((NotClearSignableError, Refusal.NOT_CLEAR_SIGNABLE), (BusyError, Refusal.BUSY))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the socket; times in seconds."""

    connections: int = 64
    #: For a request to come in, and for a reply to go out.
    transfer: float = 5.0
    #: For the requests under way when it is to stop.
    drain: float = 5.0
    #: For one gpg.
    gpg: float = 10.0


class Agent:
    """Answers connections; `Keyring` puts their signatures in order."""

    def __init__(self, keyring: Keyring, key: FeedKey, *, clock: Clock, limits: Limits) -> None:
        """`key` has been admitted: see `signer.feed_key`."""
        self._keyring = keyring
        self._key = key
        self._clock = clock
        self._limits = limits
        self._open: set[asyncio.Task[None]] = set()
        self._under_way = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, whatever comes in on it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio calls this in a task of its own
        self._open.add(task)
        try:
            reply = await self._reply_to(reader)
            if reply is not None:
                async with asyncio.timeout(self._limits.transfer):
                    writer.write(protocol.encode(reply))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError) as error:  # gone, or it does not take its reply
            logger.debug("a client of the signer was cut off (%s)", type(error).__name__)
            writer.transport.abort()
        finally:
            self._open.discard(task)
            writer.close()

    async def close(self) -> None:
        """Let what is under way end, for a while; then kill the gpg it waits for."""
        if self._open:
            await asyncio.wait(self._open, timeout=self._limits.drain)
        if self._open:
            self._keyring.abort()
            await asyncio.wait(self._open, timeout=self._limits.transfer)
        for task in self._open:
            task.cancel()

    async def _reply_to(self, reader: asyncio.StreamReader) -> Reply | None:
        if len(self._open) > self._limits.connections:
            return Refused(Refusal.BUSY, f"{self._limits.connections} requests are under way already")
        try:
            async with asyncio.timeout(self._limits.transfer):
                request = await protocol.read_request(reader)
        except FrameError as error:
            return Refused(error.reason, str(error))
        answering = asyncio.create_task(self._answer(request))
        gone = asyncio.create_task(reader.read(1))  # a client has nothing more to say: it waits, or it has left
        try:
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering.done() else None
        finally:  # who has left gives up its place in the queue
            await cancel(answering, gone)

    async def _answer(self, request: Request) -> Reply:
        if isinstance(request, protocol.AskPublicKey):
            return protocol.PublicKey(self._key.armored, self._key.primary, self._key.signer, self._key.expires_at)
        if isinstance(request, protocol.AskHealth):
            is_expired = self._key.is_expired(self._clock.now())
            return protocol.Health(self._key.signer, self._key.expires_at, is_expired, self._under_way)
        self._under_way += 1
        try:
            return protocol.Signed(await self._sign(request))
        except PgpError as error:
            reason = next((refusal for kind, refusal in _REFUSALS if isinstance(error, kind)), Refusal.FAILED)
            if reason is Refusal.FAILED:
                logger.warning("nothing was signed (%s)", error)
            return Refused(reason, str(error))
        except Exception:  # a client gets an answer whatever happened here
            logger.exception("signing crashed")
            return Refused(Refusal.FAILED, "the signer has a fault; its log says which")
        finally:
            self._under_way -= 1

    async def _sign(self, request: SignRequest) -> bytes:
        if isinstance(request, protocol.SignResponse) and request.is_clear:
            return await self._keyring.clearsign(request.content, self._key.signer)
        return await self._keyring.sign(request.content, self._key.signer)


async def serve(
    *,
    socket: Path | sockets.socket,
    home: Path,
    fingerprint: str,
    stop: asyncio.Event,
    canary: Collection[str] = (),
    clock: Clock | None = None,
    limits: Limits | None = None,
    ready: Callable[[], None] | None = None,
    gpg: str = "gpg",
) -> None:
    """Sign with the key `fingerprint` of the keyring `home` for whoever comes to `socket`, until `stop`.

    `canary` are the fingerprints of the canary's keys, whose secret parts must not be here. A socket that is passed in
    listens already. `ready` is called when everything is. Raises `AgentError` for a socket that cannot be, `PgpError`
    for a keyring or a key that will not do.
    """
    clock, limits = clock or SystemClock(), limits or Limits()
    async with Keyring(home, gpg=gpg, deadline=limits.gpg, most_waiting=limits.connections, clock=clock) as keyring:
        key = await feed_key.admit(keyring, fingerprint, canary, clock.now())
        agent = Agent(keyring, key, clock=clock, limits=limits)
        listening = listen(socket) if isinstance(socket, Path) else socket
        listening.settimeout(0)  # as asyncio wants it
        try:
            server = await asyncio.start_unix_server(agent.accept, sock=listening)
            logger.info("signing with %s", key.signer, extra=logs.fields(expires_at=key.expires_at))
            if ready is not None:
                ready()
            await stop.wait()
            server.close()
            await agent.close()
        finally:
            listening.close()
            if isinstance(socket, Path):
                socket.unlink(missing_ok=True)  # noqa: ASYNC240 - the last thing it does


def listen(path: Path) -> sockets.socket:
    """Return a socket that listens at `path`, for its owner alone; raises `AgentError`.

    The folder is made if it is not there. A socket that nobody listens to any more is replaced.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.parent.stat()
    except OSError as error:
        raise AgentError(f"the signer's folder {path.parent} cannot be made ({error.strerror})") from None
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise AgentError(f"the signer's folder {path.parent} is open to others (it needs to be yours, with mode 0700)")
    _remove_left(path)
    listening = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen()
    except OSError as error:
        listening.close()
        raise AgentError(f"the signer cannot listen at {path} ({reason_of(error)})") from None
    return listening


def _remove_left(path: Path) -> None:
    """Remove the socket of a process that was killed; raises `AgentError` where one listens."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:  # not there, or not to be had: binding says so
            return
    raise AgentError(f"another signer listens at {path}")


def inherited(environ: Mapping[str, str], pid: int) -> sockets.socket | None:
    """Return the socket systemd passed to this process, None without one: sd_listen_fds(3)."""
    if environ.get("LISTEN_PID") != str(pid) or environ.get("LISTEN_FDS") != "1":
        return None
    return sockets.socket(fileno=_FIRST_PASSED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the signer as a process of its own; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m signer.agent", description="Sign feeds with the key of a keyring.")
    parser.add_argument("--home", type=Path, required=True, help="the keyring (GNUPGHOME)")
    parser.add_argument("--key", required=True, help="fingerprint of the feed key, or of its signing subkey")
    parser.add_argument("--canary", action="append", default=[], help="fingerprint of a canary key; may be repeated")
    parser.add_argument("--socket", type=Path, help="where to listen, unless systemd passes a socket")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", default="auto", choices=("auto", "json", "text"))
    parser.add_argument("--until-stdin-ends", action="store_true", help="stop when stdin does, as a parent's end")
    chosen = parser.parse_args(arguments)
    logs.configure(settings.load(environ={}, log_level=chosen.log_level, log_format=chosen.log_format))
    place = inherited(os.environ, os.getpid()) or chosen.socket
    if place is None:
        parser.error("--socket is needed: systemd passes none")
    try:
        uvloop.run(_run(chosen, place))
    except (AgentError, PgpError) as error:
        logger.error("the signer cannot start: %s", error)  # noqa: TRY400 - the text is all there is to say
        return EXIT_FAILED
    return EXIT_DONE


async def _run(chosen: argparse.Namespace, place: Path | sockets.socket) -> None:
    with stop_on_signals() as stop, contextlib.ExitStack() as at_end:
        if chosen.until_stdin_ends:
            at_end.enter_context(stop_when_stdin_ends(stop))
        await serve(
            socket=place,
            home=chosen.home,
            fingerprint=chosen.key,
            canary=chosen.canary,
            stop=stop,
            ready=lambda: _say_ready() if chosen.until_stdin_ends else None,
        )


def _say_ready() -> None:
    os.write(sys.stdout.fileno(), protocol.READY)


if __name__ == "__main__":
    sys.exit(main())
