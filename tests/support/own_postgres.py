"""A PostgreSQL of a test's own, which it may crash, kill, freeze, or let run out of disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.embedded import EmbeddedPostgres
from tests.support.commands import descendants, running
from tests.support.process import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator


class OwnPostgres:
    """A real server; it is found at the same place after each start, through a link to its socket's folder."""

    def __init__(self, folder: Path, *, data: Path | None = None) -> None:
        """Keep the link in `folder`, which has a short name, and the cluster there or in `data`."""
        self._server = EmbeddedPostgres((data or folder) / "postgres")
        self._link = folder / "s"
        self.socket = self._link / ".s.PGSQL.5432"
        self.dsn = f"postgresql://postgres@/postgres?host={self._link}"

    async def start(self) -> None:
        await self._server.start()
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(self._server.sockets)

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    async def crash(self) -> None:
        """End it without any chance to write: the next start recovers from the log."""
        self._child.send_signal(signal.SIGQUIT)
        await self._gone()

    async def kill(self) -> None:
        """End every process of it by SIGKILL, as a host that dies does."""
        pids = self._pids()
        self.signal(signal.SIGKILL)
        await self._gone()

        async def are_gone() -> bool:
            return not running(pids)

        await until(are_gone, "the server's processes have ended")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of it: SIGSTOP freezes it, SIGCONT goes on."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def stop(self) -> None:
        await self._server.stop()

    @property
    def _child(self) -> subprocess.Popen[bytes]:
        child = self._server._child
        assert child is not None
        return child

    def _pids(self) -> set[int]:
        return {self._child.pid} | descendants(self._child.pid)

    async def _gone(self) -> None:
        await asyncio.to_thread(self._child.wait)
        await self._server.stop()


@contextlib.asynccontextmanager
async def own_postgres(data: Path | None = None) -> AsyncIterator[OwnPostgres]:
    """Start a server; end it at the end, frozen or not."""
    with tempfile.TemporaryDirectory(prefix="hgf-") as folder:
        server = OwnPostgres(Path(folder), data=data)
        await server.start()
        try:
            yield server
        finally:
            if server.is_running:
                server.signal(signal.SIGCONT)
            await server.stop()
