"""The command line called as a function: no process, no server, no event loop."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from publisher.__main__ import run
from runtime.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Command = Callable[..., "Said"]


class Said(NamedTuple):
    """What a command answered."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def heliograph(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Call the command line without any setting; put logging back as it was afterwards."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable

    def call(*arguments: str) -> Said:
        code = run(list(arguments))
        return Said(code, *capsys.readouterr())

    yield call
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.disable(disabled)
