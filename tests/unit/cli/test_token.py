"""`heliograph token`: what it prints is a token this service believes, and what it refuses, it refuses in one line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import jwt
import pytest

from publisher.api.tokens import Tokens
from runtime import settings as runtime_settings
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from publisher.api.tokens import Claims
    from tests.unit.cli.conftest import Command

ENVIRONMENT = {
    "HELIOGRAPH_JWT_SECRET": "a secret of tests that is long enough",
    "HELIOGRAPH_JWT_ISSUER": "https://panel.example",
    "HELIOGRAPH_JWT_AUDIENCE": "heliograph",
}


@pytest.fixture
def _signing(heliograph: Command, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - which clears them first
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def read(token: str) -> Claims:
    """Return what the service reads in a token."""
    return asyncio.run(Tokens.of(runtime_settings.load(environ=ENVIRONMENT), SystemClock()).claims(token))


def life_of(token: str) -> int:
    claims = jwt.decode(token, options={"verify_signature": False})
    seconds: int = claims["exp"] - claims["iat"]
    return seconds


@pytest.mark.usefixtures("_signing")
def test_it_prints_a_token_that_may_do_everything_for_a_day(heliograph: Command) -> None:
    said = heliograph("token", "--account", "acct_1")
    assert (said.code, said.stderr, said.stdout.count("\n")) == (0, "", 1)
    claims = read(said.stdout.strip())
    assert (claims.account, claims.scopes) == ("acct_1", frozenset({"full"}))
    assert life_of(said.stdout.strip()) == 86_400


@pytest.mark.usefixtures("_signing")
def test_each_has_a_session_of_its_own(heliograph: Command) -> None:
    sessions = {read(heliograph("token", "--account", "acct_1").stdout.strip()).session for _ in range(3)}
    assert len(sessions) == 3


@pytest.mark.usefixtures("_signing")
@pytest.mark.parametrize(("ttl", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)])
def test_scopes_and_life_are_what_is_asked_for(heliograph: Command, ttl: str, seconds: int) -> None:
    scopes = ("--scope", "read-only", "--scope", "billing-read")
    token = heliograph("token", "--account", "acct_1", *scopes, "--ttl", ttl).stdout.strip()
    assert read(token).scopes == {"read-only", "billing-read"}
    assert life_of(token) == seconds


@pytest.mark.usefixtures("_signing")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing option '--account'."),
        (("--account", "no such"), "--account: is not an account id"),
        (
            ("--account", "acct_1", "--scope", "everything"),
            "--scope: 'everything' is not a scope; there are read-only, ",
        ),
        (("--account", "acct_1", "--ttl", "soon"), "--ttl: 'soon' is no length of time from 1s to 366d"),
        (("--account", "acct_1", "--ttl", "0s"), "--ttl: '0s' is no length of time"),
        (("--account", "acct_1", "--ttl", "-1h"), "--ttl: '-1h' is no length of time"),
        (("--account", "acct_1", "--ttl", "367d"), "--ttl: '367d' is no length of time"),
        (("--account", "acct_1", "--ttl", "999999999d"), "--ttl: '999999999d' is no length of time"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    heliograph: Command, arguments: tuple[str, ...], words: str
) -> None:
    said = heliograph("token", *arguments)
    assert (said.code, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert said.stderr.startswith(f"heliograph: {words}")


def test_without_the_secret_it_says_which_setting_is_missing(heliograph: Command) -> None:
    said = heliograph("token", "--account", "acct_1")
    assert (said.code, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert said.stderr.startswith("heliograph: HELIOGRAPH_JWT_SECRET is not set (")


@pytest.mark.usefixtures("_signing")
def test_scopes_are_those_of_the_profile(heliograph: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_PROFILE", "no-such")
    said = heliograph("token", "--account", "acct_1")
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith("heliograph: HELIOGRAPH_PROFILE: there is no profile 'no-such'")
