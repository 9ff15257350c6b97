"""`heliograph serve`: the service, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import resource
from typing import TYPE_CHECKING, Annotated, NamedTuple

import orjson
import typer
import uvloop

from publisher import profiles
from publisher.cli import context
from publisher.cli.context import CommandUsageError
from publisher.roles import ROLES
from publisher.signing import SIGN, SigningService
from publisher.supervisor import WORK, Supervisor, WorkerError
from runtime.lifecycle import EXIT_DONE, stop_on_signals, stop_when_stdin_ends

if TYPE_CHECKING:
    from publisher.app import Service
    from publisher.supervisor import MakeSupervisor
    from runtime.settings import Settings

Role = enum.StrEnum("Role", {role: role for role in ROLES})  # type: ignore[misc]  # one list of roles, in roles.py


def serve(
    ctx: typer.Context,
    role: Annotated[list[Role] | None, typer.Option(help="Role to run; may be repeated. All when none.")] = None,
    *,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Bring PostgreSQL and a broker along; needs no settings.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Consume and deliver in N processes of their own.")
    ] = None,
    until_stdin_ends: Annotated[bool, typer.Option("--until-stdin-ends", hidden=True)] = False,
) -> int:
    """Run the service. Prints one JSON line when ready; SIGTERM and SIGINT drain and end it."""
    settings = context.of(ctx).settings()
    roles = frozenset(role or ROLES)
    if workers is not None and not roles & WORK:
        raise CommandUsageError(f"--workers: needs --role {' or '.join(sorted(WORK))}: that is what workers do")
    if role and SIGN in role and not embedded:
        settings.require("feed_key", "gnupghome")
    profiles.load(settings.profile)  # a broken one is said before anything is started for it
    _open_as_many_files_as_may_be()
    started = Started(roles, embedded, workers or 0, until_stdin_ends, context.of(ctx).is_debug)
    try:
        return uvloop.run(_serve(settings, started))
    except WorkerError as error:
        return error.code  # it has said why, as the last line on the stderr it shares with us


class Started(NamedTuple):
    """How the service is to be run."""

    roles: frozenset[str]
    embedded: bool
    workers: int
    until_stdin_ends: bool
    is_debug: bool


async def _serve(settings: Settings, how: Started) -> int:
    with stop_on_signals(is_told_once=how.until_stdin_ends) as stop:
        async with contextlib.AsyncExitStack() as stack:
            if how.until_stdin_ends:
                stack.enter_context(stop_when_stdin_ends(stop))
            starting = asyncio.create_task(_start(stack, settings, how))
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
    stack: contextlib.AsyncExitStack, settings: Settings, how: Started
) -> tuple[Service | SigningService, dict[str, object]]:
    """Open everything on `stack`; return the service and its ready line."""
    if how.roles == {SIGN}:
        signing = await stack.enter_async_context(SigningService(settings))
        return signing, signing.ready_line
    from publisher.app import Service  # noqa: PLC0415 - half of what there is to load, and only `serve` needs it

    servers: dict[str, object] = {}
    if how.embedded:
        from publisher.embedded import embedded_settings  # noqa: PLC0415 - the `embedded` extra is optional

        settings = await stack.enter_async_context(embedded_settings(settings))
        servers = {"kafka": ",".join(settings.kafka_bootstrap), "database": settings.dsn()}
    workers = _workers_of(how) if how.workers else None
    own = how.roles - WORK if workers else how.roles
    service = await stack.enter_async_context(Service(settings, own, workers=workers))
    addresses = service.addresses
    ready = {"ready": True, **({"api": addresses.api} if addresses.api else {}), "admin": addresses.admin, **servers}
    if service.workers:
        ready["workers"] = [each._asdict() for each in service.workers.running]
    return service, ready


def _workers_of(how: Started) -> MakeSupervisor:
    """Return what makes the workers."""
    roles = how.roles & WORK
    return lambda settings, registry, clock: Supervisor(
        settings, roles=roles, count=how.workers, registry=registry, clock=clock, is_debug=how.is_debug
    )
