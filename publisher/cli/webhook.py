"""`heliograph webhook`: endpoints, by the operator's hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import asyncpg
import orjson
import typer
import uvloop

from publisher import endpoints
from publisher.cli import context
from publisher.cli.context import CommandError, CommandUsageError
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory, InvalidEndpointError
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime.clock import SystemClock
from runtime.database import open_pool
from runtime.lifecycle import EXIT_DONE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runtime.database import Connection
    from runtime.settings import Settings

T = TypeVar("T")
#: What the table holds.
LONGEST_DESCRIPTION = 256
group = typer.Typer(help="Endpoints of customers.", no_args_is_help=True)


@group.command()
def add(
    ctx: typer.Context,
    account: Annotated[str, typer.Option(help="Whose endpoint it is.")],
    url: Annotated[str, typer.Option(help="Where to deliver; https.")],
    event: Annotated[
        list[str] | None, typer.Option(help="Event type, `server.*` or `*`; may be repeated. All when none.")
    ] = None,
    description: Annotated[str, typer.Option(help="A note for people.")] = "",
) -> int:
    """Subscribe a URL. Prints the endpoint and its secret as JSON: the secret is shown this once."""
    if len(description) > LONGEST_DESCRIPTION:
        raise CommandUsageError(f"--description: must be at most {LONGEST_DESCRIPTION} characters")
    settings = context.of(ctx).settings()
    settings.require("database_url", "secret_keys")
    directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
    filters = event or ["*"]

    async def register(connection: Connection) -> tuple[str, str]:
        return await directory.register(connection, account=account, url=url, events=filters, description=description)

    try:
        endpoint_id, secret = uvloop.run(_with_connection(settings, register))
    except InvalidEndpointError as error:
        raise CommandUsageError(f"--{error}".replace("--events:", "--event:")) from None
    shown = {"id": endpoint_id, "account": account, "url": url, "events": filters, "secret": secret}
    typer.echo(orjson.dumps(shown).decode())
    return EXIT_DONE


@group.command("list")
def list_(ctx: typer.Context, account: Annotated[str, typer.Option(help="Whose endpoints.")]) -> int:
    """Print an account's endpoints, one JSON object a line, without secrets."""
    settings = context.of(ctx).settings()
    settings.require("database_url")

    async def read(connection: Connection) -> list[dict[str, object]]:
        return [dict(row) for row in await connection.fetch(endpoints.LIST, account)]

    for row in uvloop.run(_with_connection(settings, read)):
        typer.echo(orjson.dumps(row).decode())
    return EXIT_DONE


async def _with_connection(settings: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    pool = await open_pool(settings, size=1)
    try:
        async with pool.acquire() as connection:
            return await work(connection)
    except asyncpg.UndefinedTableError:
        raise CommandError("the database has no schema yet: run heliograph migrate") from None
    finally:
        await pool.close()
