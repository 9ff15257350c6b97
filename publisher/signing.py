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
    from collections.abc import Collection
    from types import TracebackType

    from runtime.clock import Clock
    from runtime.settings import Settings
    from signer.metrics import SignerMetrics

SIGN = "sign"
#: Seconds an answer's signature may take: callers of the API wait for it.
TIMEOUT = 5.0


class Signing:
    """Who signs for this process; an async context manager, in which the signing process runs where it is to be ours.

    `client` is there from the start: it waits for the process as for one that is being started again.
    """

    def __init__(self, settings: Settings, roles: Collection[str], *, metrics: SignerMetrics, clock: Clock) -> None:
        """Decide by settings and roles; raises `SettingsError` when the process is not told its keyring."""
        self._settings = settings
        self._is_ours = SIGN in roles and settings.feed_key is not None
        self._stack = contextlib.AsyncExitStack()
        socket = settings.signer_socket
        if self._is_ours:
            settings.require("gnupghome")
            if socket is None:
                folder = tempfile.TemporaryDirectory(prefix="hg-", ignore_cleanup_errors=True)
                socket = Path(self._stack.enter_context(folder)) / "signer.sock"
        #: Where the signing process listens, ours or another's; None where nothing is signed.
        self.socket = socket
        self.client = SignerClient(socket, metrics=metrics, clock=clock, timeout=TIMEOUT) if socket else None

    async def __aenter__(self) -> Self:
        """Start the process; raises `AgentError` when it does not start."""
        if self._is_ours:
            settings = self._settings
            assert settings.gnupghome is not None  # noqa: S101 - required above
            assert settings.feed_key is not None  # noqa: S101 - or it were not ours
            assert self.socket is not None  # noqa: S101 - chosen above
            process = child(
                socket=self.socket,
                home=settings.gnupghome,
                fingerprint=settings.feed_key,
                canary=settings.canary_keys,
                log_level=settings.log_level,
                log_format=settings.log_format,
            )
            try:
                await self._stack.enter_async_context(process)
            except AgentError as error:
                await self._stack.aclose()
                raise AgentError(f"{_settings_of_it()}: {error}") from None
            except BaseException:
                await self._stack.aclose()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        await self._stack.aclose()


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
