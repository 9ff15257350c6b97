"""`heliograph keys`: the keys of the service itself, by the operator's hand. Those that sign are in feed_keys.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer
import uvloop
from rich.progress import Progress

from publisher import endpoint_secrets
from publisher.cli import context, feed_keys
from publisher.cli.connection import with_connection
from publisher.secrets import Vault
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from runtime.database import Connection

group = typer.Typer(help="Keys of the service.", no_args_is_help=True)
group.command()(feed_keys.init)
group.command()(feed_keys.export)

#: Secrets between two lines of progress where there is no terminal.
LINE_EVERY = 10_000


@group.command()
def rotate_secrets(ctx: typer.Context) -> int:
    """Re-encrypt the webhook secrets at rest with the first of HELIOGRAPH_SECRET_KEYS.

    Needed before an older key may leave the list. May be interrupted and run again; the service may run meanwhile.
    """
    settings = context.of(ctx).settings()
    settings.require("database_url", "secret_keys")
    vault = Vault(settings.keys())

    async def work(connection: Connection) -> tuple[int, int, int]:
        return await _reseal(connection, vault)

    written, current, unopened = uvloop.run(with_connection(settings, work))
    typer.echo(
        f"{written} secrets re-encrypted with key {vault.current!r}, {current} already were, "
        f"{unopened} could not be opened"
    )
    return EXIT_FAILED if unopened else EXIT_DONE


async def _reseal(connection: Connection, vault: Vault) -> tuple[int, int, int]:
    stale, current = await endpoint_secrets.count(connection, vault)
    seen = written = 0
    unopened: set[str] = set()
    is_terminal = sys.stderr.isatty()
    with Progress(disable=not is_terminal or stale <= endpoint_secrets.BATCH, transient=True) as progress:
        task = progress.add_task("re-encrypting", total=stale)
        async for batch in endpoint_secrets.reseal(connection, vault):
            for error in batch.unopened:
                typer.echo(f"{error}; it is left as it is", err=True)
                unopened.add(str(error))
            if not is_terminal and (seen + batch.seen) // LINE_EVERY > seen // LINE_EVERY:
                typer.echo(f"{seen + batch.seen} of {stale} secrets seen", err=True)
            seen += batch.seen
            written += batch.written
            progress.advance(task, batch.seen)
    for fault in await endpoint_secrets.unopened(connection, vault):  # the first key may have been replaced by another
        if fault not in unopened:
            typer.echo(f"{fault}; it is left as it is", err=True)
            unopened.add(fault)
    return written, current, len(unopened)
