"""`heliograph migrate`: bring the database to this release's schema."""

from __future__ import annotations

import typer
import uvloop

from migrations import runner
from publisher.cli import context
from runtime.lifecycle import EXIT_DONE


def migrate(ctx: typer.Context) -> int:
    """Apply the migrations that are missing. Safe to run at any time, and by several processes at once."""
    settings = context.of(ctx).settings()
    before, after = uvloop.run(runner.migrate(settings))
    typer.echo(f"at {after} already" if before == after else f"migrated from {before or 'nothing'} to {after}")
    return EXIT_DONE
