"""`heliograph serve`: the service, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import resource
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
import uvloop

from publisher import profiles
from publisher.cli import context
from publisher.roles import ROLES
from publisher.signing import SIGN, SigningService
from runtime.lifecycle import EXIT_DONE, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Collection

    from publisher.app import Service
    from runtime.settings import Settings

Role = enum.StrEnum("Role", {role: role for role in ROLES})  # type: ignore[misc]  # one list of roles, in roles.py


def serve(
    ctx: typer.Context,
    role: Annotated[list[Role] | None, typer.Option(help="Role to run; may be repeated. All when none.")] = None,
    *,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Bring PostgreSQL and a broker along; needs no settings.")
    ] = False,
) -> int:
    """Run the service. Prints one JSON line when ready; SIGTERM and SIGINT drain and end it."""
    settings = context.of(ctx).settings()
    if role and SIGN in role and not embedded:
        settings.require("feed_key", "gnupghome")
    profiles.load(settings.profile)  # a broken one is said before anything is started for it
    _open_as_many_files_as_may_be()
    return uvloop.run(_serve(settings, role or ROLES, embedded=embedded))


async def _serve(settings: Settings, roles: Collection[str], *, embedded: bool) -> int:
    with stop_on_signals() as stop:
        async with contextlib.AsyncExitStack() as stack:
            starting = asyncio.create_task(_start(stack, settings, roles, embedded=embedded))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return EXIT_DONE
            service, ready = starting.result()
            _tune_collector()
            print(orjson.dumps(ready).decode(), flush=True)  # noqa: T201 - the ready line is stdout's only content
            return await service.run(stop)


def _open_as_many_files_as_may_be() -> None:
    """Raise the soft limit of open files to the hard one: each customer who calls, and each who is called, is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tune_collector() -> None:
    """Leave what start-up made out of every collection, and collect less often: deliveries make no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _start(
    stack: contextlib.AsyncExitStack, settings: Settings, roles: Collection[str], *, embedded: bool
) -> tuple[Service | SigningService, dict[str, object]]:
    """Open everything on `stack`; return the service and its ready line."""
    if set(roles) == {SIGN}:
        signing = await stack.enter_async_context(SigningService(settings))
        return signing, signing.ready_line
    from publisher.app import Service  # noqa: PLC0415 - half of what there is to load, and only `serve` needs it

    servers: dict[str, object] = {}
    if embedded:
        from publisher.embedded import embedded_settings  # noqa: PLC0415 - the `embedded` extra is optional

        settings = await stack.enter_async_context(embedded_settings(settings))
        servers = {"kafka": ",".join(settings.kafka_bootstrap), "database": settings.dsn()}
    service = await stack.enter_async_context(Service(settings, roles))
    addresses = service.addresses
    ready = {"ready": True, **({"api": addresses.api} if addresses.api else {}), "admin": addresses.admin, **servers}
    return service, ready
