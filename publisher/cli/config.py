"""`heliograph config`: every setting, its value, default and meaning."""

from __future__ import annotations

import sys

import typer
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.table import Table

from publisher.cli import context
from runtime.lifecycle import EXIT_DONE
from runtime.settings import Settings, masked, variable


def config(ctx: typer.Context) -> int:
    """Print every setting: name, value in force (secrets masked), default, meaning."""
    settings = context.of(ctx).settings()
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is PydanticUndefined else masked(name, field.default)
        rows.append((variable(name), masked(name, getattr(settings, name)), default, field.description or ""))
    if sys.stdout.isatty():
        table = Table("setting", "value", "default", "meaning", show_lines=False)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
    else:
        for name, value, default, meaning in rows:
            typer.echo(f"{name}={value}  # default: {default or 'unset'}; {meaning}")
    return EXIT_DONE
