"""`heliograph canary publish|status`: the canary where it is served. Beside the database, and with public keys alone.

What the operator has signed elsewhere is verified by the keys that the service has pinned, and stored; nothing here
could sign.
"""

from __future__ import annotations

import random
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop

from feeds import canary_publishing, canary_standing, documents
from feeds.canary_publishing import RefusedError
from feeds.documents import Feed
from publisher import profiles
from publisher.cli import canary_files as files
from publisher.cli import canary_pages as pages
from publisher.cli import context
from publisher.cli.canary import CanaryFile  # noqa: TC001 - typer reads the annotation
from publisher.cli.connection import with_connection
from publisher.cli.context import CommandError
from publisher.ids import Ids
from publisher.intake import fan_out_for_others
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED
from signer.canary_dates import State
from signer.canary_judge import Pins
from signer.statement import sha256

if TYPE_CHECKING:
    from feeds.canary_publishing import Publication
    from feeds.canary_standing import Standing
    from publisher.profiles import Profile
    from runtime.database import Connection
    from runtime.settings import Settings

#: A promise that is kept. `changed` is: what is gone was acknowledged, and stands there for all to see.
SOUND = frozenset({State.CURRENT, State.DUE, State.CHANGED})


def publish(
    ctx: typer.Context,
    file: CanaryFile,
    *,
    signature: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="May be repeated; those beside the canary when none.")
    ] = None,
    acknowledge_removed: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="What this canary says no more; may be repeated. Each must be named."),
    ] = None,
) -> int:
    """Verify a signed canary, or a retirement, store it for all to see and tell the subscribers of canary.updated.

    Runs beside the database, where no secret key of the canary may be. All of it happens or nothing. To publish the
    newest one again does nothing, with exit code 0: whoever lost the answer may ask again. Exit code 1 when it is
    refused.
    """
    settings = context.of(ctx).settings()
    pins = _pins(settings)
    settings.require("secret_keys")
    profile = profiles.load(settings.profile)
    content = files.read(file)
    blobs = {str(path): files.read(path) for path in signature or files.signatures_beside(file)}
    clock = SystemClock()
    told = _Told(settings, profile, clock)
    public_url = settings.public_url.rstrip("/")
    location = f"{public_url}{profile.base}/transparency/canary"

    async def work(connection: Connection) -> Publication:
        return await canary_publishing.publish(
            connection,
            content,
            blobs,
            pins=pins,
            acknowledged=acknowledge_removed or (),
            clock=clock,
            announce=told.fan_out,
            source=public_url,
            location=location,
        )

    try:
        made = uvloop.run(with_connection(settings, work))
    except RefusedError as error:
        if error.verdict is not None:
            for line in pages.report(file, sha256(content), error.verdict, clock.now()):
                context.say(line)
        raise CommandError(f"{file}: is not published: {error}") from None
    if made.after_commit:
        made.after_commit()
    for line in pages.publication(made, clock.now(), location=location, is_anybody_told=told.anybody):
        context.say(line)
    return EXIT_DONE


def status(ctx: typer.Context) -> int:
    """Judge the newest canary that is stored, as the service does, and say how it stands.

    Exit code 0 when it is current, due or changed; 1 when it is missing, overdue, expired, invalid or revoked.
    """
    settings = context.of(ctx).settings()
    pins = _pins(settings)
    clock = SystemClock()

    async def work(connection: Connection) -> tuple[Standing, int]:
        standing = await canary_standing.read(connection, pins, clock.now())
        return standing, await documents.count(connection, Feed.CANARY)

    standing, history = uvloop.run(with_connection(settings, work))
    now = clock.now()
    for line in pages.standing(standing, history, now):
        context.say(line)
    return EXIT_DONE if standing.state(now) in SOUND else EXIT_FAILED


class _Told:
    """Whoever subscribed is told, by a process that delivers; `anybody` says whether there is somebody."""

    def __init__(self, settings: Settings, profile: Profile, clock: SystemClock) -> None:
        self.anybody = False
        self.fan_out = fan_out_for_others(
            settings, Ids(clock), random.SystemRandom(), profile.events.types, wake=self._wake
        )

    def _wake(self) -> None:
        self.anybody = True


def _pins(settings: Settings) -> Pins:
    """Return whose signatures count; raises `SettingsError` for what is not set."""
    settings.require("database_url", "canary_keys", "public_keys")
    pins = Pins.of(settings)
    assert pins is not None  # noqa: S101 - there are canary_keys
    return pins
