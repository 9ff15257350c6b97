"""What every command starts from: the global options, and the settings read on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime import logs, settings

if TYPE_CHECKING:
    from pathlib import Path

    import typer

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


def of(context: typer.Context) -> Context:
    """Return ours from typer's."""
    assert isinstance(context.obj, Context)  # noqa: S101 - set by the root callback
    return context.obj
