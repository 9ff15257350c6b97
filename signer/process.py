"""python-gnupg as a process that ends: each gpg is killed at its deadline, and what it said is kept as it said it.

python-gnupg waits for ever, hands out summaries and logs what it is given at debug level. So its way of starting a
process and of collecting the output are overridden here, and `Record` stands where its result classes do
(`result_map` is its extension point). Everything here blocks: it belongs on the worker of `signer.pgp`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gnupg

from signer.faults import GpgUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from signer.verdict import Line

# What is signed, and every line gpg prints, is in its debug messages; its errors are tracebacks. Ours say it all.
logging.getLogger("gnupg").setLevel(logging.CRITICAL)

#: Before it a file name inside a message could forge status lines (CVE-2018-12020).
OLDEST = (2, 2, 8)
#: Whatever a keyring's gpg.conf says: no options from there, no network, no trust but in fingerprints.
OPTIONS = (
    "--no-options",
    "--disable-dirmngr",
    "--no-auto-key-retrieve",
    "--no-auto-key-locate",
    "--no-auto-check-trustdb",
    "--no-random-seed-file",
    "--trust-model=always",
    "--exit-on-status-write-error",
)
#: The daemons gpg may leave in the background, each named with its keyring.
DAEMONS = frozenset({"gpg-agent", "scdaemon", "dirmngr", "keyboxd"})
#: Seconds a daemon may take to end when asked, and how often we look.
LAST_END, LOOK = 2.0, 0.02
#: Settings of ours, secrets among them, that gpg has no business with.
OURS = "HELIOGRAPH_"


class Record(gnupg.StatusHandler):  # type: ignore[misc] # python-gnupg ships no types
    """What one gpg said (`lines`), wrote (`data`) and ended with (`returncode`)."""

    def __init__(self, gpg: object) -> None:
        """As python-gnupg calls its result classes."""
        super().__init__(gpg)
        self.lines: list[Line] = []
        self.data = b""
        self.returncode: int | None = None

    def handle_status(self, key: str, value: str) -> None:
        """Keep a status line; this runs in python-gnupg's thread, where an exception would be lost."""
        self.lines.append((key, value))

    def _ignore(self, fields: Sequence[str]) -> None:
        """Take a line of a listing: `signer.certificates` reads `data` instead."""

    pub = sec = sub = ssb = uid = fpr = grp = sig = _ignore

    def __iter__(self) -> Iterator[Any]:
        """Give python-gnupg no keys to complete."""
        return iter(())


class Gpg(gnupg.GPG):  # type: ignore[misc] # python-gnupg ships no types
    """gpg on one keyring; not for two threads at once."""

    result_map = dict.fromkeys(gnupg.GPG.result_map, Record)

    def __init__(self, binary: str, home: Path, *, deadline: float, options: Iterable[str] = ()) -> None:
        """Ask gpg for its version; raises `GpgUnavailableError` when there is none, or none new enough."""
        self._deadline = deadline
        self._record: Record | None = None
        self._is_overdue = False
        self._is_aborted = False
        self._running: subprocess.Popen[bytes] | None = None
        self._passed: tuple[int, ...] = ()
        self._home = home
        environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.run(
            lambda: super(Gpg, self).__init__(
                gpgbinary=binary,
                gnupghome=str(home),
                options=[*OPTIONS, *options],
                env={**environ, "LC_ALL": "C"},  # agents inherit it, and need none of our secrets
            ),
            binary,
        )
        if self.version is None or self.version < OLDEST:
            found = ".".join(map(str, self.version or ())) or "of an unknown version"
            raise GpgUnavailableError(f"{binary} is {found}; {'.'.join(map(str, OLDEST))} or newer is needed")

    def run(self, call: Callable[[], object], binary: str | None = None) -> Record:
        """Make one of python-gnupg's calls; return what gpg said. Raises `GpgUnavailableError`."""
        name = binary or self.gpgbinary
        if self._is_aborted:
            raise GpgUnavailableError("this keyring is being closed")
        self._record, self._is_overdue = None, False
        try:
            call()
        except BrokenPipeError:
            pass  # gpg had read enough to make up its mind, and what it said counts
        except (OSError, ValueError) as error:
            if not self._was_killed():
                reason = error.strerror if isinstance(error, OSError) and error.strerror else "it did not start"
                raise GpgUnavailableError(f"{name} cannot be run ({reason}); install GnuPG") from error
        if self._was_killed():
            kill_agents(self._home)  # it is often the agent that hangs, and gpg that waits for it
            raise GpgUnavailableError(f"{name} did not end within {self._deadline:g} s and was killed")
        record = self._last()
        if record is None or record.returncode is None or record.returncode < 0:
            raise GpgUnavailableError(f"{name} was ended by someone else")
        return record

    def _was_killed(self) -> bool:
        return self._is_overdue

    def _last(self) -> Record | None:
        return self._record

    @contextlib.contextmanager
    def given(self, content: bytes) -> Iterator[str]:
        """Yield a path under which gpg can read `content`; it is in memory, so a full disk does not matter."""
        descriptor = os.memfd_create("heliograph")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(content)
            self._passed = (descriptor,)
            yield f"/dev/fd/{descriptor}"
        finally:
            self._passed = ()
            os.close(descriptor)

    def _open_subprocess(self, args: list[str], passphrase: bool = False) -> subprocess.Popen[bytes]:  # noqa: FBT001, FBT002 - python-gnupg calls it so
        return subprocess.Popen(  # noqa: S603 - no shell; whatever comes from outside is a checked fingerprint, or on a pipe
            self.make_args(args, passphrase),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            pass_fds=self._passed,
            start_new_session=True,  # so that it can be killed with all it started
        )

    def _collect_output(
        self, process: subprocess.Popen[bytes], result: Record, writer: object = None, stdin: object = None
    ) -> None:
        self._record = result
        self._running = process
        if self._is_aborted:  # in this very moment
            self._kill(process)
        timer = threading.Timer(self._deadline, self._kill, (process,))
        timer.daemon = True
        timer.start()
        try:
            super()._collect_output(process, result, writer, stdin)
        finally:
            timer.cancel()
            self._running = None

    def abort(self) -> None:
        """Kill the gpg of the moment, and run no other; from any thread."""
        self._is_aborted = True
        if (process := self._running) is not None:
            self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            self._is_overdue = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def stop_agents(home: Path) -> None:
    """Have the daemons of a keyring end, and return when they have; one that does not is killed."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(  # noqa: S603 - GnuPG's own way to do it
            ["gpgconf", "--homedir", str(home), "--kill", "all"],  # noqa: S607 - wherever it is installed
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LAST_END,
            check=False,
        )
    if not _have_ended(home):
        kill_agents(home)
        _have_ended(home)  # one that was stopped takes a moment even to be killed


def _have_ended(home: Path) -> bool:
    """Wait until a keyring's daemons have ended; say whether they did in time."""
    pause = threading.Event()
    for _ in range(int(LAST_END / LOOK)):
        if not agents(home):
            return True
        pause.wait(LOOK)
    return False


def kill_agents(home: Path) -> None:
    """Kill the daemons of a keyring: one that hangs obeys nothing less."""
    for pid in agents(home):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def agents(home: Path) -> list[int]:
    """Return the processes that are daemons of this keyring: gpg names it when it starts them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if os.fsdecode(words[0]).rpartition("/")[2] in DAEMONS and os.fsencode(home) in words:
            found.append(int(folder.name))
    return found
