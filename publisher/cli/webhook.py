"""`heliograph webhook`: endpoints, by the operator's hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import orjson
import typer
import uvloop

from publisher import deliveries, endpoints
from publisher.cli import context
from publisher.cli.connection import with_connection
from publisher.cli.context import CommandError, CommandUsageError
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory, InvalidEndpointError, NoSuchEndpointError
from publisher.ids import Ids
from publisher.secrets import ED25519, HMAC
from publisher.subscriptions import Terms, check, check_overlap
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runtime.database import Connection
    from runtime.settings import Settings

T = TypeVar("T")
group = typer.Typer(help="Endpoints of customers.", no_args_is_help=True)

Whose = Annotated[str, typer.Option("--account", help="Whose endpoint it is.")]
Which = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its id, such as we_019a3c….")]


@group.command()
def add(
    ctx: typer.Context,
    account: Whose,
    url: Annotated[str, typer.Option(help="Where to deliver; https.")],
    *,
    event: Annotated[
        list[str] | None, typer.Option(help="Event type, `server.*` or `*`; may be repeated. All when none.")
    ] = None,
    description: Annotated[str, typer.Option(help="A note for people.")] = "",
    algorithm: Annotated[str, typer.Option(help=f"{HMAC}, or {ED25519} for a public-key signature besides.")] = HMAC,
    retries: Annotated[int | None, typer.Option(help="Attempts after the first; the service's when left out.")] = None,
    window: Annotated[
        int | None, typer.Option(help="Seconds within which the last attempt ends; the service's when left out.")
    ] = None,
) -> int:
    """Subscribe a URL. Prints the endpoint and its secret as JSON: the secret is shown this once."""
    settings = context.of(ctx).settings()
    try:  # what cannot be an endpoint is refused before anything is opened
        asked = check(
            Rules.of(settings), Terms.of(settings), account=account, url=url, events=event or ["*"],
            description=description, retries=retries, window=window, algorithm=algorithm,
        )  # fmt: skip
    except InvalidEndpointError as error:
        raise CommandUsageError(f"--{error}".replace("--events:", "--event:")) from None
    directory = _directory(settings)

    async def register(connection: Connection) -> tuple[str, str, list[str]]:
        endpoint_id, secret = await directory.register(connection, **asdict(asked))
        return endpoint_id, secret, await endpoints.public_keys(connection, account, endpoint_id)

    endpoint_id, secret, public_keys = _run(settings, register)
    shown: dict[str, object] = {"id": endpoint_id, "account": account, "url": url, "events": asked.events}
    _print(shown | {"secret": secret} | _if_any(public_keys))
    return EXIT_DONE


@group.command("list")
def list_(ctx: typer.Context, account: Annotated[str, typer.Option(help="Whose endpoints.")]) -> int:
    """Print an account's endpoints, one JSON object a line, without secrets."""
    settings = context.of(ctx).settings()
    settings.require("database_url")
    for each in _run(settings, lambda connection: endpoints.list_of(connection, account)).endpoints:
        _print(asdict(each))
    return EXIT_DONE


@group.command()
def rotate(
    ctx: typer.Context,
    endpoint: Which,
    account: Whose,
    overlap: Annotated[
        float | None, typer.Option(help="Seconds the old secrets go on signing; the service's when left out.")
    ] = None,
) -> int:
    """Give an endpoint a new secret. Prints it as JSON, this once; the old one signs beside it for a while."""
    settings = context.of(ctx).settings()
    seconds = settings.secret_overlap if overlap is None else overlap
    try:
        check_overlap(seconds)
    except InvalidEndpointError as error:
        raise CommandUsageError(f"--{error}") from None
    directory = _directory(settings)

    async def work(connection: Connection) -> tuple[str, list[str]]:
        secret = await directory.rotate(connection, account, endpoint, overlap=seconds)
        return secret, await endpoints.public_keys(connection, account, endpoint)

    secret, public_keys = _run(settings, work)
    _print({"id": endpoint, "account": account, "secret": secret, "overlap": seconds} | _if_any(public_keys))
    return EXIT_DONE


@group.command()
def pause(ctx: typer.Context, endpoint: Which, account: Whose) -> int:
    """Stop delivering to an endpoint until it is enabled; what happens meanwhile is not kept for it."""
    return _set_status(ctx, endpoint, account, "paused")


@group.command()
def enable(ctx: typer.Context, endpoint: Which, account: Whose) -> int:
    """Deliver again to an endpoint that was paused or disabled."""
    return _set_status(ctx, endpoint, account, "active")


def _set_status(ctx: typer.Context, endpoint: str, account: str, status: Literal["active", "paused"]) -> int:
    settings = context.of(ctx).settings()
    directory = _directory(settings)
    changed = _run(settings, lambda connection: directory.update(connection, account, endpoint, status=status))
    _print(asdict(changed))
    return EXIT_DONE


@group.command()
def remove(ctx: typer.Context, endpoint: Which, account: Whose) -> int:
    """Remove an endpoint and its secrets; what waits for it is cancelled."""
    settings = context.of(ctx).settings()
    settings.require("database_url")
    _run(settings, lambda connection: deliveries.delete_endpoint(connection, account, endpoint))
    _print({"id": endpoint, "account": account, "removed": True})
    return EXIT_DONE


def _directory(settings: Settings) -> Directory:
    settings.require("database_url", "secret_keys")
    return Directory.of(settings, Ids(SystemClock()))


def _run(settings: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    try:
        return uvloop.run(with_connection(settings, work))
    except NoSuchEndpointError as error:
        raise CommandError(str(error)) from None


def _if_any(public_keys: list[str]) -> dict[str, list[str]]:
    return {"public_keys": public_keys} if public_keys else {}


def _print(shown: dict[str, object]) -> None:
    typer.echo(orjson.dumps(shown).decode())
