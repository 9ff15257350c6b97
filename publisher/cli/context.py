"""What every command starts from: the global options, and the settings read on demand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from runtime import logs, settings

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.settings import Settings


class CommandError(Exception):
    """A command could not do what it was asked; the text is one line."""


class CommandUsageError(CommandError):
    """What was given to a command cannot be right; the text is one line and names it."""


@dataclass(frozen=True, slots=True)
class Context:
    """The global options."""

    config: Path | None
    is_debug: bool

    def settings(self, **overrides: Any) -> Settings:  # noqa: ANN401 - passed on to settings.load
        """Read the settings and configure logging by them; raises `SettingsError`."""
        loaded = settings.load(self.config, **overrides)
        logs.configure(loaded, debug=self.is_debug)
        return loaded


def printable(text: str, *, keeps: str = "") -> str:
    """Return text that cannot steer a terminal or pass for another line: what is not printable is escaped.

    So are changes of direction, and bytes of a file's name that are no text. Characters of `keeps` stay as they are.
    """
    return "".join(each if each.isprintable() or each in keeps else repr(each)[1:-1] for each in text)


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whoever wrote what is in it."""
    typer.echo(printable(line), err=err)


def say_json(value: object) -> None:
    """Print JSON values, indented; what is not printable is escaped as JSON has it, so nothing is lost by it."""
    text = json.dumps(value, ensure_ascii=False, indent=2).encode(errors="replace").decode()
    typer.echo("".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text))


def of(context: typer.Context) -> Context:
    """Return ours from typer's."""
    assert isinstance(context.obj, Context)  # noqa: S101 - set by the root callback
    return context.obj
