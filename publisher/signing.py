"""The role `sign`: a process of its own, beside the service as a child or alone under its own user.

roles                         FEED_KEY   SIGNER_SOCKET   what signs
all, or sign among others     set        perhaps         a child of this process, at SIGNER_SOCKET or in private
sign alone                    set        set             this process, which then does nothing else
others                                   set             whoever listens there
any                           neither                    nobody
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from publisher.roles import NotReadyError
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, cancel
from runtime.settings import variable
from signer.child import child
from signer.client import SignerClient
from signer.faults import AgentError, GpgUnavailableError, PgpError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from types import TracebackType

    from runtime.clock import Clock
    from runtime.settings import Settings
    from signer.metrics import SignerMetrics

SIGN = "sign"
#: Seconds an answer's signature may take: callers of the API wait for it.
TIMEOUT = 5.0


@contextlib.asynccontextmanager
async def open_signer(
    settings: Settings, roles: Collection[str], *, metrics: SignerMetrics, clock: Clock
) -> AsyncIterator[SignerClient | None]:
    """Yield what has things signed, None where nothing can be; run the signing process where this one is to.

    Raises `AgentError` when that does not start, `SettingsError` when it is not told its keyring.
    """
    if SIGN not in roles or settings.feed_key is None:
        socket = settings.signer_socket
        yield SignerClient(socket, metrics=metrics, clock=clock, timeout=TIMEOUT) if socket else None
        return
    settings.require("gnupghome")
    assert settings.gnupghome is not None  # noqa: S101 - narrowed by require()
    with contextlib.ExitStack() as stack:
        socket = settings.signer_socket
        if socket is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-", ignore_cleanup_errors=True))
            socket = Path(folder) / "signer.sock"
        signing = child(
            socket=socket,
            home=settings.gnupghome,
            fingerprint=settings.feed_key,
            canary=settings.canary_keys,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        async with contextlib.AsyncExitStack() as running:
            try:
                await running.enter_async_context(signing)
            except AgentError as error:
                raise AgentError(f"{_settings_of_it()}: {error}") from None
            yield SignerClient(socket, metrics=metrics, clock=clock, timeout=TIMEOUT)


def _settings_of_it() -> str:
    """Name what the signing process was started with."""
    return f"{variable('gnupghome')}, {variable('feed_key')}"


class SigningService:
    """A process with the role `sign` alone: no database, no Kafka, no network, and no listener but the socket."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; raises `SettingsError` for what is missing."""
        from signer import agent  # noqa: PLC0415 - gpg belongs into no other process

        settings.require("feed_key", "gnupghome")
        self._passed = agent.inherited(os.environ, os.getpid())
        if self._passed is None:
            settings.require("signer_socket")
        self._settings = settings
        self._serve = agent.serve
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    @property
    def ready_line(self) -> dict[str, object]:
        """What is said on stdout once it listens."""
        return {"ready": True, "signer": str(self._settings.signer_socket or "passed by systemd")}

    async def __aenter__(self) -> Self:
        """Listen; raises `AgentError`, `NotReadyError` for a keyring or a key that will not do, or `PgpError`."""
        settings = self._settings
        assert settings.gnupghome is not None  # noqa: S101 - required above
        assert settings.feed_key is not None  # noqa: S101 - required above
        place = self._passed or settings.signer_socket
        assert place is not None  # noqa: S101 - required above
        ready = asyncio.Event()
        self._serving = asyncio.create_task(
            self._serve(
                socket=place,
                home=settings.gnupghome,
                fingerprint=settings.feed_key,
                canary=settings.canary_keys,
                stop=self._stop,
                ready=ready.set,
            ),
            name="sign",
        )
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((self._serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        await cancel(waiting)
        if self._serving.done():
            try:
                self._serving.result()
            except GpgUnavailableError:
                raise
            except PgpError as error:
                raise NotReadyError(f"{_settings_of_it()}: {error}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End with what is under way."""
        self._stop.set()
        if self._serving is not None:
            await asyncio.wait((self._serving,))

    async def run(self, stop: asyncio.Event) -> int:
        """Sign until `stop`; return the exit code."""
        assert self._serving is not None  # noqa: S101 - entered before
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((self._serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        await cancel(stopping)
        return EXIT_DONE if stop.is_set() else EXIT_FAILED
