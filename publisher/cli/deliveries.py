"""`heliograph deliveries`: the queue, by the operator's hand: how it stands, send again, give up."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import orjson
import typer
import uvloop
from rich.progress import Progress

from consumers import announcements
from publisher import deliveries, failures, quota, recovery
from publisher.cli import context
from publisher.cli.connection import with_connection
from publisher.cli.context import CommandError, CommandUsageError
from publisher.cli.moments import SINCE_HELP, parse_since
from publisher.deliveries import Redelivery
from publisher.ids import Ids
from publisher.log import EPOCH, id_range, is_name
from publisher.queue import ENDED_STATES
from publisher.recovery import STATES, EndpointInactiveError, InvalidRecoveryError, RecoveryRunningError
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from consumers.announcements import Backlog
    from publisher.deliveries import Dropped, Ended, Troubled, Waiting
    from publisher.quota import Full
    from runtime.database import Connection
    from runtime.settings import Settings

T = TypeVar("T")
#: Deliveries hastened or given up in one transaction.
BATCH = 500
#: Deliveries named one by one; the rest is a number.
NAMED = 20
#: `ended` counts what was made in so many days: what ended today was hardly made before.
MADE_WITHIN = timedelta(days=2)

REFUSALS = {
    Redelivery.NOT_FOUND: "there is none of that id: never was, or retention took it",
    Redelivery.UNDER_WAY: "is being attempted now",
    Redelivery.EXPIRED: "cannot be sent: retention has taken its payload",
    Redelivery.ENDPOINT_INACTIVE: "its endpoint is not active: heliograph webhook enable",
    Redelivery.QUEUE_FULL: "its account's queue is full: try again when there is room",
    Redelivery.TOO_MANY_ATTEMPTS: f"has been attempted {deliveries.MOST_ATTEMPTS} times: it is not sent again",
}

group = typer.Typer(help="The queue: how it stands, send again, give up.", no_args_is_help=True)

Which = Annotated[list[str] | None, typer.Argument(metavar="DELIVERY", help="Ids, such as dlv_019a3c….")]
Endpoint = Annotated[str | None, typer.Option("--endpoint", help="All of this endpoint.")]


class Stats(NamedTuple):
    """How the queue stands; `full` is the named account's."""

    account: str | None
    time: datetime
    waiting: Mapping[str, Waiting]
    ended: Sequence[Ended]
    troubled: Troubled
    full: Full | None
    unsent: Backlog


# --- stats ----------------------------------------------------------------------------------------------------------


@group.command()
def stats(
    ctx: typer.Context, account: Annotated[str | None, typer.Option(help="Of this account alone.")] = None
) -> int:
    """Print how the queue stands; one JSON object where it is no terminal.

    `ended` counts the last hour and the last day, of what was made in the last two days. With --account everything
    but `announcements` is of that account.
    """
    if account is not None and not is_name(account):
        raise CommandUsageError("--account: is not an account id")
    now = SystemClock().now()

    async def read(connection: Connection) -> Stats:
        made_since, _ = id_range(now - MADE_WITHIN, None)
        return Stats(
            account,
            now,
            await deliveries.waiting(connection, account),
            await deliveries.ended(connection, made_since=made_since, account=account),
            await deliveries.troubled(connection, account),
            await quota.state_of(connection, account) if account is not None else None,
            await announcements.backlog(connection),
        )

    read_stats = _run(ctx, read)
    typer.echo("\n".join(table(read_stats)) if sys.stdout.isatty() else orjson.dumps(as_json(read_stats)).decode())
    return EXIT_DONE


def as_json(read: Stats) -> dict[str, Any]:
    """Return the numbers as one object; times are RFC 3339, `overdue_seconds` 0 for what is not due yet. Pure."""
    by_state: dict[str, dict[str, Any]] = {}
    for each in read.ended:
        of_state = by_state.setdefault(each.state, {"hour": 0, "day": 0, "by_last_result": {}})
        of_state["hour"] += each.hour
        of_state["day"] += each.day
        of_state["by_last_result"][each.last_result or "none"] = {"hour": each.hour, "day": each.day}
    shown: dict[str, Any] = {
        "account": read.account,
        "time": _rfc(read.time),
        "queue": {
            state: {
                "deliveries": each.number,
                "oldest_due": each.oldest_due and _rfc(each.oldest_due),
                "overdue_seconds": round(each.overdue, 1),
            }
            for state, each in read.waiting.items()
        },
        "ended": by_state,
        **read.troubled._asdict(),
        "announcements": {"unsent": read.unsent.waiting, "oldest": read.unsent.oldest and _rfc(read.unsent.oldest)},
    }
    if read.full is not None:
        shown["full"] = {"deliveries": read.full.queued, "since": _rfc(read.full.since)}
    return shown


def table(read: Stats) -> list[str]:
    """Return the same as lines for people. Pure."""
    lines = [f"{'queue':<12}{'deliveries':>12}  oldest due"]
    for state, each in read.waiting.items():
        due = f"{_rfc(each.oldest_due)}{_ago(each.overdue)}" if each.oldest_due else "-"
        lines.append(f"{state:<12}{each.number:>12}  {due}")
    lines += ["", f"{'ended':<12}{'last result':<14}{'last hour':>12}{'last day':>12}"]
    ended = sorted(read.ended, key=lambda each: (each.state, -each.day))
    lines += [f"{each.state:<12}{each.last_result or '-':<14}{each.hour:>12}{each.day:>12}" for each in ended]
    if not ended:
        lines.append("-")
    full = f", since {_rfc(read.full.since)} with {read.full.queued} deliveries" if read.full else ""
    oldest = f", the oldest of {_rfc(read.unsent.oldest)}" if read.unsent.oldest else ""
    return [
        *lines,
        "",
        f"{'accounts with a full queue':<28}{read.troubled.full_accounts}{full}",
        f"{'endpoints disabled':<28}{read.troubled.disabled_endpoints}",
        f"{'recoveries running':<28}{read.troubled.running_recoveries}",
        f"{'announcements not sent yet':<28}{read.unsent.waiting}{oldest}",
    ]


def _rfc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _ago(seconds: float) -> str:
    """Return how long something has been due, in the largest unit that has two of it; nothing for what is not."""
    if seconds <= 0:
        return ""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f", {seconds / size:.0f} {unit} ago"
    return f", {seconds:.0f} s ago"


# --- sending again --------------------------------------------------------------------------------------------------


@group.command()
def retry(
    ctx: typer.Context,
    delivery: Which = None,
    endpoint: Endpoint = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"With --endpoint. {SINCE_HELP}")] = None,
    state: Annotated[
        Literal["dropped", "cancelled"] | None, typer.Option(help="With --endpoint, only what ended so.")
    ] = None,
) -> int:
    """Have deliveries sent now. Those that wait are made due; those that have ended begin a new schedule.

    With --endpoint everything that waits is made due, unless --state names what has ended; what was dropped or
    cancelled is put back by the service, in batches, as fast as the endpoint takes it: the id of that recovery is
    printed. What was delivered is sent again only when it is named.
    """
    _either(delivery, endpoint)
    if endpoint is None and (since is not None or state is not None):
        raise CommandUsageError(f"--{'since' if since is not None else 'state'}: goes with --endpoint, not with ids")
    if endpoint is None:
        return _run(ctx, lambda connection: _retry(connection, delivery or ()))
    clock = SystemClock()
    made_since = EPOCH if since is None else parse_since(since, clock.now())

    async def all_of_it(connection: Connection) -> int:
        return await _retry_endpoint(connection, Ids(clock), endpoint, made_since, (state,) if state else STATES)

    return _run(ctx, all_of_it)


async def _retry(connection: Connection, delivery_ids: Sequence[str]) -> int:
    queued = 0
    unique = list(dict.fromkeys(delivery_ids))
    for delivery_id in unique:
        found = await deliveries.owned(connection, delivery_id)
        outcome = Redelivery.NOT_FOUND
        if found is not None:
            outcome = await deliveries.redeliver(connection, found.account, found.endpoint_id, delivery_id)
        if outcome is Redelivery.QUEUED:
            queued += 1
        else:
            _complain(f"{delivery_id!r}: {REFUSALS[outcome]}")
    typer.echo(f"{queued} queued, {len(unique) - queued} not")
    return EXIT_DONE if queued == len(unique) else EXIT_FAILED


async def _retry_endpoint(
    connection: Connection, made: Ids, endpoint_id: str, since: datetime, states: Sequence[str]
) -> int:
    account = await _account_of(connection, endpoint_id)
    try:
        recovery_id = await recovery.start(connection, made, account, endpoint_id, since=since, states=states)
    except InvalidRecoveryError as error:
        raise CommandUsageError(f"--{error}") from None
    except (EndpointInactiveError, RecoveryRunningError) as error:
        raise CommandError(str(error)) from None
    hastened = 0
    if len(states) == len(STATES):
        first, _ = id_range(since, None)
        while batch := await deliveries.hasten_endpoint(connection, account, endpoint_id, since=first, limit=BATCH):
            hastened += batch
    typer.echo(f"{hastened} made due; recovery {recovery_id} puts back what was {' or '.join(states)}")
    return EXIT_DONE


# --- giving up ------------------------------------------------------------------------------------------------------


@group.command()
def drop(
    ctx: typer.Context,
    delivery: Which = None,
    endpoint: Endpoint = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="With --endpoint, do not ask.")] = False,
) -> int:
    """Give up deliveries that wait. They stay in the log as dropped, are announced, and can be sent again.

    What is being attempted at the moment is left, and named.
    """
    _either(delivery, endpoint)
    if endpoint is None:
        return _run(ctx, lambda connection: _drop(connection, delivery or ()))
    if not yes and not sys.stdin.isatty():
        raise CommandUsageError("--yes: is needed where nobody can be asked")
    return _run(ctx, lambda connection: _drop_endpoint(connection, endpoint, is_sure=yes))


async def _drop(connection: Connection, delivery_ids: Sequence[str]) -> int:
    unique = list(dict.fromkeys(delivery_ids))
    names = [each for each in unique if is_name(each)]
    dropped: set[str] = set()
    for start in range(0, len(names), BATCH):
        async with connection.transaction():
            batch = await deliveries.drop(connection, names[start : start + BATCH])
            await failures.announce_dropped(connection, batch)
        dropped |= {each.delivery_id for each in batch}
    for delivery_id in unique:
        if delivery_id not in dropped:
            _complain(f"{delivery_id!r}: {await _why_kept(connection, delivery_id)}")
    typer.echo(f"{len(dropped)} dropped, {len(unique) - len(dropped)} not")
    return EXIT_DONE if len(dropped) == len(unique) else EXIT_FAILED


async def _why_kept(connection: Connection, delivery_id: str) -> str:
    found = await deliveries.owned(connection, delivery_id)
    if found is None:
        return REFUSALS[Redelivery.NOT_FOUND]
    return f"has ended: {found.state}" if found.state in ENDED_STATES else REFUSALS[Redelivery.UNDER_WAY]


async def _drop_endpoint(connection: Connection, endpoint_id: str, *, is_sure: bool) -> int:
    account = await _account_of(connection, endpoint_id)
    until, waiting = await deliveries.count_waiting(connection, account, endpoint_id)
    if waiting and not is_sure:
        typer.confirm(f"Give up {waiting} waiting deliveries of {endpoint_id}?", abort=True)
    count = 0
    with Progress(disable=not sys.stderr.isatty() or waiting <= BATCH, transient=True) as progress:
        task = progress.add_task("dropping", total=waiting)
        while batch := await _drop_batch(connection, account, endpoint_id, until):
            count += len(batch)
            progress.advance(task, len(batch))
    left = await deliveries.under_way(connection, account, endpoint_id)
    for delivery_id in left[:NAMED]:
        _complain(f"{delivery_id!r}: {REFUSALS[Redelivery.UNDER_WAY]}")
    if len(left) > NAMED:
        _complain(f"{len(left) - NAMED} more are being attempted now")
    typer.echo(f"{count} dropped, {len(left)} being attempted now")
    return EXIT_DONE


async def _drop_batch(connection: Connection, account: str, endpoint_id: str, until: datetime) -> list[Dropped]:
    async with connection.transaction():
        batch = await deliveries.drop_waiting(connection, account, endpoint_id, until=until, limit=BATCH)
        await failures.announce_dropped(connection, batch)
    return batch


# --- both -----------------------------------------------------------------------------------------------------------


def _either(delivery_ids: Sequence[str] | None, endpoint_id: str | None) -> None:
    if bool(delivery_ids) == (endpoint_id is not None):
        raise CommandUsageError("name either DELIVERY... or --endpoint")


async def _account_of(connection: Connection, endpoint_id: str) -> str:
    account = await deliveries.account_of(connection, endpoint_id)
    if account is None:
        raise CommandError(f"there is no endpoint {endpoint_id!r}")
    return account


def _complain(line: str) -> None:
    typer.echo(f"heliograph: {line}", err=True)


def _run(ctx: typer.Context, work: Callable[[Connection], Awaitable[T]]) -> T:
    settings: Settings = context.of(ctx).settings()
    settings.require("database_url")
    return uvloop.run(with_connection(settings, work))
