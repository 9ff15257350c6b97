"""`heliograph token`: a credential for trying the API, signed as the control plane would."""

from __future__ import annotations

from typing import Annotated

import typer

from publisher import profiles
from publisher.cli import context
from publisher.cli.context import CommandUsageError
from publisher.cli.moments import parse_length
from publisher.endpoints import InvalidEndpointError
from publisher.ids import Ids
from publisher.subscriptions import check_account
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE

#: The scope that may do everything.
EVERYTHING = "full"
#: Seconds a token may live at most.
LONGEST = 366 * 86_400


def token(
    ctx: typer.Context,
    account: Annotated[str, typer.Option(help="Whose account it acts for.")],
    *,
    scope: Annotated[list[str] | None, typer.Option(help=f"May be repeated; `{EVERYTHING}` when none.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 90s, 15m, 24h, 7d.")] = "24h",
) -> int:
    """Print a bearer token for development, signed with HELIOGRAPH_JWT_SECRET.

    Each belongs to a session of its own, whose id is its claim `sid`.
    """
    from publisher.api import tokens  # noqa: PLC0415 - the API's half of the program, which other commands do without

    settings = context.of(ctx).settings()
    known = profiles.load(settings.profile).credentials.scopes
    scopes = scope or [EVERYTHING]
    for each in scopes:
        if each not in known:
            raise CommandUsageError(f"--scope: {each!r} is not a scope; there are {', '.join(known)}")
    try:
        check_account(account)
    except InvalidEndpointError as error:
        raise CommandUsageError(f"--{error}") from None
    clock = SystemClock()
    lives = _lifetime(ttl)
    settings.require("jwt_secret", "jwt_issuer", "jwt_audience")
    assert settings.jwt_secret is not None  # noqa: S101 - narrowed by require()
    now = int(clock.unix())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": account,
        "sid": Ids(clock).new("ses"),
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + lives,
    }
    typer.echo(tokens.sign(claims, settings.jwt_secret.get_secret_value()))
    return EXIT_DONE


def _lifetime(text: str) -> int:
    """Return a length of time in seconds; raises `CommandUsageError`."""
    try:
        length = parse_length(text)
    except OverflowError:
        length = None
    seconds = int(length.total_seconds()) if length is not None else 0
    if not 1 <= seconds <= LONGEST:
        raise CommandUsageError(f"--ttl: {text!r} is no length of time from 1s to 366d, such as 90s, 15m, 24h, 7d")
    return seconds
