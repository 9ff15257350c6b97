"""A person at a terminal: `heliograph …` on a pseudo-terminal of its own, read and typed to, without a network."""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.process import ROOT, _clean, _dying_with_us, _folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PATIENCE = 30.0
CTRL_C, CTRL_D = "\x03", "\x04"


class Screen:
    """What a program shows, and its keyboard."""

    def __init__(self, child: subprocess.Popen[bytes], master: int) -> None:
        self.child = child
        self._master = master
        self._shown = ""
        self._read = 0

    def shows(self, text: str) -> str:
        """Wait for `text` beyond what was waited for before; return what came up to its end."""
        deadline = time.monotonic() + PATIENCE
        while (found := self._shown.find(text, self._read)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"not within {PATIENCE:g} s: {text!r} after {self._shown[self._read :]!r}"
            assert self._more(left), f"ended without {text!r} after {self._shown[self._read :]!r}"
        before, self._read = self._read, found + len(text)
        return self._shown[before : self._read]

    def type(self, text: str) -> None:
        """Type, as the terminal gets it."""
        os.write(self._master, text.encode())

    def answers(self, question: str, answer: str) -> str:
        """Wait for a question and answer it; return what was shown up to it."""
        shown = self.shows(f"{question} (yes/no) ")
        self.type(f"{answer}\n")
        return shown

    def ends(self, patience: float = PATIENCE) -> tuple[int, str]:
        """Wait until it ends, `patience` seconds at most; return its exit code and what it showed last."""
        deadline = time.monotonic() + patience
        while self._more(deadline - time.monotonic()):
            assert time.monotonic() < deadline, f"has not ended after {self._shown[self._read :]!r}"
        return self.child.wait(PATIENCE), self._shown[self._read :]

    def _more(self, seconds: float) -> bool:
        """Take in what comes; False when nothing will."""
        ready, _, _ = select.select([self._master], [], [], max(seconds, 0))
        if not ready:
            return True
        try:
            came = os.read(self._master, 65_536)
        except OSError:  # EIO: nobody holds the other side any more
            return False
        self._shown += came.decode().replace("\r\n", "\n")
        return bool(came)


@contextlib.contextmanager
def on_a_terminal(*arguments: str, environ: Mapping[str, str], cwd: Path = ROOT) -> Iterator[Screen]:
    """Run `heliograph <arguments>` on a terminal; end it at the end."""
    command = [*_without_network(), sys.executable, "-m", "publisher", *arguments]
    with a_program_on_a_terminal(*command, environ=environ, cwd=cwd) as screen:
        yield screen


@contextlib.contextmanager
def a_program_on_a_terminal(*command: str, environ: Mapping[str, str], cwd: Path) -> Iterator[Screen]:
    """Run any program on a terminal, with what network there is; end it at the end."""
    folder = _folder()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a suite in the background is born deaf to Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [*_dying_with_us(), *command],
        env={**_clean(folder), "PYTHONPATH": str(ROOT), **environ},
        cwd=cwd,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=functools.partial(os.open, os.ttyname(slave), os.O_RDWR),  # noqa: PLW1509 - makes it the controlling one; no threads of ours hold locks
    )
    os.close(slave)
    try:
        yield Screen(child, master)
    finally:
        child.kill()
        child.wait()
        os.close(master)
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _without_network() -> tuple[str, ...]:
    """Return what puts a program where there is no network; nothing where we may not."""
    command = ("unshare", "--net", "--")
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        return ()
    return command
