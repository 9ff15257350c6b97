"""Who calls, decided on credentials in a real database: what lets in, and the one answer to all that does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from multidict import CIMultiDict

from consumers.credential_records import Credential
from consumers.credentials import Credentials
from publisher import profiles
from publisher.api.auth import Authenticator, _is_usable
from publisher.api.call import Client, Principal
from publisher.api.errors import ApiError, of_exception
from publisher.api.tokens import Tokens, sign
from publisher.profiles.model import Carrier, Fault
from runtime import settings as runtime_settings
from tests.support.api import a_record
from tests.support.credentials import Watched, publish
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Pool

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of tests
JWT: dict[str, Any] = {
    "jwt_secret": "a secret of tests that is long enough",
    "jwt_issuer": "panel",
    "jwt_audience": "heliograph",
}
STYLE = profiles.load("nordbastion").credentials
CLOCK = FakeClock()
HERE = Client("192.0.2.7")
CERTIFICATE = "ab" * 32
TOMORROW, YESTERDAY = ((CLOCK.now() + timedelta(days=days)).isoformat() for days in (1, -1))
INVALID = {"WWW-Authenticate": 'Bearer error="invalid_token"'}

RECORDS: dict[str, bytes | None] = {
    "k1": a_record(secret=SECRET, scopes=["read-only"], tier="developer", audit=True),
    "k_2": a_record(secret=SECRET),
    "expiring": a_record(secret=SECRET, expires_at=TOMORROW),
    "expired": a_record(secret=SECRET, expires_at=YESTERDAY),
    "now": a_record(secret=SECRET, expires_at=CLOCK.now().isoformat()),
    "here": a_record(secret=SECRET, cidrs=["198.51.100.0/24", "192.0.2.0/29"]),
    "elsewhere": a_record(secret=SECRET, cidrs=["198.51.100.0/24", "2001:db8::/32"]),
    "six": a_record(secret=SECRET, cidrs=["2001:db8::/32"]),
    "pinned": a_record(secret=SECRET, client_cert_sha256=["cd" * 32, CERTIFICATE.upper()]),
    "gone": None,
    "ses_1": a_record(secret=SECRET, kind="session", tier="standard", audit=True),
    "ses_expired": a_record(kind="session", expires_at=YESTERDAY),
    "ses_elsewhere": a_record(kind="session", cidrs=["198.51.100.0/24"]),
    "ses_pinned": a_record(kind="session", client_cert_sha256=CERTIFICATE),
    "ses_other": a_record("acct_2", kind="session"),
    "ses_bare": a_record(kind="session"),
    "ses_narrow": a_record(kind="session", scopes=["read-only"]),
}


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as opened:
        await publish(opened, **RECORDS)
        yield opened


@pytest.fixture
def who(pool: Pool) -> Authenticator:
    return authenticator(pool)


def authenticator(pool: Pool, *carriers: Carrier) -> Authenticator:
    tokens = Tokens.of(runtime_settings.load(environ={}, **JWT), CLOCK)
    style = STYLE.model_copy(update={"carriers": list(carriers)}) if carriers else STYLE
    return Authenticator(style, Credentials(pool.acquire, CLOCK), tokens, CLOCK)


def a_key(credential_id: str, secret: str = SECRET) -> str:
    return f"nb_live_{credential_id}_{secret}"


def a_token(session: str, account: str = "acct_1", **changes: Any) -> str:
    claims = {
        "iss": "panel", "aud": "heliograph", "sub": account, "sid": session, "scope": "full", "exp": CLOCK.unix() + 60,
    }  # fmt: skip
    return sign(claims | changes, JWT["jwt_secret"])


async def caller(who: Authenticator, credential: str, client: Client = HERE) -> Principal:
    return await who.principal(CIMultiDict({"Authorization": f"Bearer {credential}"}), client)


async def refusal(who: Authenticator, *headers: tuple[str, str], client: Client = HERE) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await who.principal(CIMultiDict(headers), client)
    assert raised.value.fault is Fault.UNAUTHENTICATED
    return raised.value


# --- what lets in ----------------------------------------------------------------------------------------------------


async def test_a_key_is_its_account_with_its_scopes(who: Authenticator) -> None:
    expected = Principal("api_key", "k1", "acct_1", frozenset({"read-only"}), "developer", is_audited=True)
    assert await caller(who, a_key("k1")) == expected


@pytest.mark.parametrize(
    ("credential", "client"),
    [
        (a_key("k_2"), HERE),
        (a_key("expiring"), HERE),
        (a_key("here"), HERE),
        (a_key("here"), Client("::ffff:192.0.2.7")),
        (a_key("elsewhere"), Client("198.51.100.255")),
        (a_key("elsewhere"), Client("2001:db8::1")),
        (a_key("pinned"), Client("192.0.2.7", CERTIFICATE)),
        (a_key("k1"), Client("192.0.2.7", CERTIFICATE)),
        (a_key("k1"), Client("")),
        (a_token("ses_bare"), HERE),
        (a_token("ses_elsewhere"), Client("198.51.100.1")),
        (a_token("ses_pinned"), Client("192.0.2.7", CERTIFICATE)),
        (a_token("never-named"), HERE),
    ],
    ids=str,
)
async def test_what_is_in_force_lets_in(who: Authenticator, credential: str, client: Client) -> None:
    assert (await caller(who, credential, client)).account == "acct_1"


async def test_a_session_is_what_its_token_says_and_what_the_topic_says_besides(who: Authenticator) -> None:
    expected = Principal("session", "ses_1", "acct_1", frozenset({"full"}), "standard", is_audited=True)
    assert await caller(who, a_token("ses_1", tier="developer")) == expected
    bare = Principal("session", "ses_bare", "acct_1", frozenset({"full"}), "developer", is_audited=True)
    assert await caller(who, a_token("ses_bare", tier="developer", audit=True)) == bare
    narrowed = await caller(who, a_token("ses_narrow", scope="full read-only"))
    assert narrowed.scopes == {"read-only"}
    unknown = Principal("session", "unknown", "acct_9", frozenset({"read-only"}))
    assert await caller(who, a_token("unknown", "acct_9", scope="read-only")) == unknown


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_scheme_is_the_same_in_any_case(who: Authenticator, scheme: str) -> None:
    found = await who.principal(CIMultiDict({"authorization": f"{scheme}  {a_key('k1')} "}), HERE)
    assert found.id == "k1"


# --- what does not ---------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, Client]] = {
    "unknown id": (a_key("nobody"), HERE),
    "wrong secret": (a_key("k1", "f" * 32), HERE),
    "no secret": (a_key("k1", ""), HERE),
    "no id": ("nb_live__secret", HERE),
    "no underscore": ("nb_live_k1", HERE),
    "nothing after the prefix": ("nb_live_", HERE),
    "an id that cannot be": (f"nb_live_{'x' * 200}_{SECRET}", HERE),
    "another prefix": (f"nb_test_k1_{SECRET}", HERE),
    "expired": (a_key("expired"), HERE),
    "expiring this moment": (a_key("now"), HERE),
    "revoked": (a_key("gone"), HERE),
    "from elsewhere": (a_key("elsewhere"), HERE),
    "from elsewhere, next door": (a_key("here"), Client("192.0.2.8")),
    "mapped into a network of IPv6": (a_key("six"), Client("::ffff:192.0.2.7")),
    "from nowhere": (a_key("here"), Client("")),
    "from no address": (a_key("here"), Client("somewhere")),
    "without its certificate": (a_key("pinned"), HERE),
    "with another certificate": (a_key("pinned"), Client("192.0.2.7", "ef" * 32)),
    "a session as a key": (a_key("ses_1"), HERE),
    "revoked session": (a_token("gone"), HERE),
    "expired session": (a_token("ses_expired"), HERE),
    "another's session": (a_token("ses_other"), HERE),
    "a key as a session": (a_token("k1"), HERE),
    "session from elsewhere": (a_token("ses_elsewhere"), HERE),
    "session without its certificate": (a_token("ses_pinned"), HERE),
    "expired token": (a_token("ses_1", exp=CLOCK.unix() - 60), HERE),
    "forged token": (a_token("ses_1")[:-4] + "AAAA", HERE),
    "nonsense": ("nonsense", HERE),
}
OK = a_key("k1")
MALFORMED: dict[str, list[tuple[str, str]]] = {
    "two headers": [("Authorization", f"Bearer {OK}"), ("Authorization", f"Bearer {OK}")],
    "two headers, one of another scheme": [("Authorization", f"Bearer {OK}"), ("Authorization", "Basic eDp5")],
    "two made one": [("Authorization", f"Bearer {OK}, Bearer {OK}")],
    "two made one without a space": [("Authorization", f"Bearer {OK},{OK}")],
    "another scheme": [("Authorization", "Basic eDp5")],
    "no scheme": [("Authorization", OK)],
    "no credential": [("Authorization", "Bearer")],
    "nothing but spaces": [("Authorization", "Bearer   ")],
    "empty": [("Authorization", "")],
    "not ASCII": [("Authorization", f"Bearer {OK}é")],
    "a surrogate, as aiohttp reads bytes that are no UTF-8": [("Authorization", f"Bearer {OK}\udcff")],
    "a scheme that only begins alike": [("Authorization", f"Bearers {OK}")],
}


async def test_whatever_is_wrong_the_answer_is_the_same(who: Authenticator) -> None:
    answers = {}
    for name, (credential, client) in REFUSED.items():
        answers[name] = await refusal(who, ("Authorization", f"Bearer {credential}"), client=client)
    for name, headers in MALFORMED.items():
        answers[name] = await refusal(who, *headers)
    said = {(each.code, each.message, each.field, *each.headers.items()) for each in answers.values()}
    assert said == {("invalid_credential", answers["nonsense"].message, None, *INVALID.items())}
    assert "expired" in answers["nonsense"].message


def test_what_is_revoked_lets_nobody_in_whatever_else_is_known_of_it() -> None:
    known = Credential("k1", kind="api_key", account="acct_1")
    assert _is_usable(known, "api_key", HERE, CLOCK.now())
    assert not _is_usable(replace(known, is_revoked=True), "api_key", HERE, CLOCK.now())


async def test_no_credential_at_all_is_told_how_to_bring_one(who: Authenticator) -> None:
    for headers in ((), (("Cookie", "a=b"), ("X-Api-Token", OK))):
        error = await refusal(who, *headers)
        assert (error.code, error.headers) == ("credential_missing", {"WWW-Authenticate": "Bearer"})
        assert "`Authorization: Bearer …`" in error.message


async def test_a_key_that_has_expired_since_it_was_looked_up_is_refused(pool: Pool) -> None:
    clock = FakeClock()
    tokens = Tokens.of(runtime_settings.load(environ={}, **JWT), clock)
    who = Authenticator(STYLE, Credentials(pool.acquire, FakeClock()), tokens, clock)
    assert (await caller(who, a_key("expiring"))).id == "expiring"
    clock.advance(86_400)
    await refusal(who, ("Authorization", f"Bearer {a_key('expiring')}"))


async def test_a_key_that_cannot_be_one_costs_no_look_up(pool: Pool) -> None:
    watched = Watched(pool)
    tokens = Tokens.of(runtime_settings.load(environ={}, **JWT), CLOCK)
    who = Authenticator(STYLE, Credentials(watched.acquire, CLOCK), tokens, CLOCK)
    for credential in ("nb_live_", "nb_live__x", f"nb_live_{'x' * 200}_y", "nonsense", a_token("ses_1") + "A"):
        await refusal(who, ("Authorization", f"Bearer {credential}"))
    assert watched.asked == 0


async def test_a_database_that_is_away_is_no_wrong_credential(who: Authenticator, pool: Pool) -> None:
    await pool.close()
    for credential in (a_key("k1"), a_token("ses_1")):
        with pytest.raises(asyncpg.InterfaceError) as raised:
            await caller(who, credential)
        assert of_exception(raised.value).fault is Fault.UNAVAILABLE


# --- other house styles ----------------------------------------------------------------------------------------------


async def test_carriers_are_tried_in_their_order(pool: Pool) -> None:
    who = authenticator(
        pool, Carrier(header="X-Api-Token"), Carrier(header="Authorization", scheme="Token"),
        Carrier(header="Authorization", scheme="Bearer"),
    )  # fmt: skip
    other = a_key("k_2")
    for headers, expected in (
        ([("x-api-token", OK)], "k1"),
        ([("Authorization", f"Bearer {OK}")], "k1"),
        ([("Authorization", f"token {OK}")], "k1"),
        ([("Authorization", f"Token {other}"), ("X-Api-Token", OK)], "k1"),
        ([("Authorization", "Basic eDp5"), ("X-Api-Token", OK)], "k1"),
    ):
        assert (await who.principal(CIMultiDict(headers), HERE)).id == expected
    error = await refusal(who, ("X-Api-Token", "wrong"), ("Authorization", f"Bearer {OK}"))
    assert (error.code, error.headers) == ("invalid_credential", {})
    await refusal(who, ("X-Api-Token", OK), ("X-Api-Token", OK))
    assert (await refusal(who, ("Authorization", "Token x"))).headers == {"WWW-Authenticate": "Token"}
    assert (await refusal(who, ("Authorization", "Bearer x"))).headers == INVALID
    missing = await refusal(who)
    assert missing.headers == {"WWW-Authenticate": "Token"}
    assert "`X-Api-Token: …` or `Authorization: Token …` or `Authorization: Bearer …`" in missing.message


async def test_without_a_scheme_there_is_no_challenge(pool: Pool) -> None:
    who = authenticator(pool, Carrier(header="X-Api-Token"))
    assert (await refusal(who)).headers == {}
    assert (await refusal(who, ("X-Api-Token", "wrong"))).headers == {}
