"""The key set fetched over HTTP: rotated, away, garbage, and never fetched more often than it may be."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from publisher.api.errors import ApiError
from publisher.api.key_set import MAX_BYTES, InvalidKeySetError, KeySet, keys_of
from publisher.api.tokens import InvalidTokenError, Tokens
from publisher.profiles.model import Fault
from runtime.embedded import free_port
from tests.support.process import until
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE = 30.0
ISSUER, AUDIENCE = "https://panel.example", "heliograph"
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "acct_1", "sid": "ses_1", "exp": int(FakeClock().unix()) + 3600}
ALGORITHMS = ("RS256", "ES256", "EdDSA")
FIRST, SECOND = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
CURVE, EDWARDS = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
REFRESH, COOLDOWN = 300.0, 30.0


def jwk(key: rsa.RSAPrivateKey, key_id: str | None, **members: Any) -> dict[str, Any]:
    named = {} if key_id is None else {"kid": key_id}
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "key_ops": ["verify"], **named, **members}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def token(key: Any, key_id: str | None, algorithm: str = "RS256", **claims: Any) -> str:
    return jwt.encode(CLAIMS | claims, key, algorithm, headers={} if key_id is None else {"kid": key_id})


class Panel:
    """A control plane that publishes keys, and counts who looks."""

    def __init__(self) -> None:
        self.url = ""
        self.content = key_set(jwk(FIRST, "one"))
        self.status = 200
        self.headers: dict[str, str] = {}
        self.fetched = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, _: web.Request) -> web.Response:
        self.fetched += 1
        await self.gate.wait()
        return web.Response(body=self.content, status=self.status, headers=self.headers)


@pytest.fixture
async def panel() -> AsyncIterator[Panel]:
    made = Panel()
    app = web.Application()
    app.router.add_get("/keys", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield made
    await runner.cleanup()


class Judge(Tokens):
    """Tokens checked with a key set that runs, by a clock that stands."""

    def __init__(self, url: str, **options: Any) -> None:
        self.clock = FakeClock()
        self.key_set = KeySet(url, ALGORITHMS, self.clock, **{"refresh": REFRESH, "cooldown": COOLDOWN, **options})
        super().__init__(self.key_set, issuer=ISSUER, audience=AUDIENCE, clock=self.clock)

    async def believes(self, token: str) -> bool:
        try:
            return (await self.claims(token)).account == "acct_1"
        except InvalidTokenError:
            return False


@contextlib.asynccontextmanager
async def judging(url: str, *, is_there: bool = True, **options: Any) -> AsyncIterator[Judge]:
    """Run a judge, from its first look on; see that it ends when it is told to."""
    judge, stop = Judge(url, **options), asyncio.Event()
    running = asyncio.create_task(judge.run(stop))

    async def has_looked() -> bool:
        return judge.key_set._known is not None

    try:
        if is_there:
            await until(has_looked, "the first key set is had")
        else:
            await asyncio.sleep(0)
        yield judge
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def unavailable(judge: Judge) -> None:
    with pytest.raises(ApiError) as raised:
        await judge.claims(token(FIRST, "one"))
    assert (raised.value.fault, raised.value.code) == (Fault.UNAVAILABLE, "temporarily_unavailable")
    assert "Retry-After" in raised.value.headers


async def test_a_published_key_checks_what_it_signed(panel: Panel) -> None:
    panel.content = key_set(
        jwk(FIRST, "one"),
        {**ECAlgorithm.to_jwk(CURVE.public_key(), as_dict=True), "kid": "two"},
        {**OKPAlgorithm.to_jwk(EDWARDS.public_key(), as_dict=True), "kid": "three"},
    )
    async with judging(panel.url) as judge:
        assert await judge.believes(token(FIRST, "one"))
        assert await judge.believes(token(CURVE, "two", "ES256"))
        assert await judge.believes(token(EDWARDS, "three", "EdDSA"))
        assert not await judge.believes(token(SECOND, "one"))
        assert not await judge.believes(token(FIRST, "two"))
        assert not await judge.believes(token(FIRST, "one", "RS512"))
        assert not await judge.believes(jwt.encode(CLAIMS, "a secret that is long enough for HS256", "HS256"))


async def test_a_token_that_names_no_key_is_checked_with_the_only_one(panel: Panel) -> None:
    async with judging(panel.url) as judge:
        assert await judge.believes(token(FIRST, None))
        assert not await judge.believes(token(SECOND, None))
    panel.content = key_set(jwk(FIRST, "one"), jwk(SECOND, "two"))
    async with judging(panel.url) as judge:
        assert not await judge.believes(token(FIRST, None))
    panel.content = key_set(jwk(FIRST, None))
    async with judging(panel.url) as judge:
        assert await judge.believes(token(FIRST, None))
        assert not await judge.believes(token(FIRST, "one"))


async def test_a_new_key_is_fetched_when_a_token_names_it(panel: Panel) -> None:
    async with judging(panel.url) as judge:
        panel.content = key_set(jwk(SECOND, "two"))
        assert await judge.believes(token(FIRST, "one"))
        assert await judge.believes(token(SECOND, "two"))
        assert not await judge.believes(token(FIRST, "one", sid="another")), "a key that was withdrawn"
        assert panel.fetched == 2


async def test_keys_are_looked_at_again_now_and_then(panel: Panel) -> None:
    async with judging(panel.url, refresh=0.05) as judge:
        panel.content = key_set(jwk(SECOND, "one"))

        async def is_rotated() -> bool:
            return await judge.believes(token(SECOND, "one"))

        await until(is_rotated, "the new key is there without a token asking for it")


async def test_a_thousand_unknown_keys_are_one_fetch(panel: Panel) -> None:
    async with judging(panel.url) as judge:
        for number in range(500):
            assert not await judge.believes(token(FIRST, f"at-a-time-{number}"))
        answers = await asyncio.gather(*(judge.believes(token(FIRST, f"at-once-{number}")) for number in range(500)))
        assert not any(answers)
        assert panel.fetched == 2
        judge.clock.advance(COOLDOWN - 1)
        assert not await judge.believes(token(FIRST, "later"))
        assert panel.fetched == 2
        judge.clock.advance(1)
        assert not await judge.believes(token(FIRST, "later"))
        assert panel.fetched == 3


async def test_those_who_need_a_new_key_at_once_share_the_fetch(panel: Panel) -> None:
    async with judging(panel.url) as judge:
        panel.content = key_set(jwk(FIRST, "one"), jwk(SECOND, "two"))
        panel.gate.clear()
        waiting = [asyncio.create_task(judge.believes(token(SECOND, "two"))) for _ in range(20)]

        async def is_asked() -> bool:
            return panel.fetched == 2

        await until(is_asked, "the fetch has begun")
        waiting[0].cancel()
        assert await judge.believes(token(FIRST, "one")), "who needs none of it does not wait"
        panel.gate.set()
        assert all(await asyncio.gather(*waiting[1:]))
        assert panel.fetched == 2


async def test_until_there_is_a_key_set_tokens_are_not_judged(panel: Panel) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/keys"
    async with judging(nowhere, is_there=False) as judge:
        await unavailable(judge)
        await unavailable(judge)
    panel.status = 500
    async with judging(panel.url, is_there=False, cooldown=0.05) as judge:
        await unavailable(judge)
        panel.status = 200

        async def is_there() -> bool:
            return judge.key_set._known is not None

        await until(is_there, "it is tried again")
        assert await judge.believes(token(FIRST, "one"))


async def test_a_token_that_names_no_key_has_the_first_set_fetched_too(panel: Panel) -> None:
    panel.status = 500
    async with judging(panel.url, is_there=False) as judge:
        await unavailable(judge)
        panel.status = 200
        judge.clock.advance(COOLDOWN)
        assert await judge.believes(token(FIRST, None))


async def test_before_it_runs_tokens_are_not_judged(panel: Panel) -> None:
    await unavailable(Judge(panel.url))
    assert panel.fetched == 0


@pytest.mark.parametrize(
    ("status", "content", "headers", "reason"),
    [
        (500, b"", {}, "status 500"),
        (404, key_set(jwk(SECOND, "two")), {}, "status 404"),
        (302, b"", {"Location": "/keys"}, "status 302"),
        (200, b"<html>", {}, "not a JSON object"),
        (200, b"[]", {}, "not a JSON object"),
        (200, b'{"keys": {}}', {}, "no list"),
        (200, b" " * (MAX_BYTES + 1), {}, f"more than {MAX_BYTES} bytes"),
        (200, gzip.compress(key_set(jwk(SECOND, "two"))), {"Content-Encoding": "gzip"}, "not a JSON object"),
    ],
)
async def test_while_there_is_no_key_set_the_old_keys_go_on(
    panel: Panel,
    caplog: pytest.LogCaptureFixture,
    *,
    status: int,
    content: bytes,
    headers: dict[str, str],
    reason: str,
) -> None:
    async with judging(panel.url) as judge:
        panel.status, panel.content, panel.headers = status, content, headers
        assert not await judge.believes(token(SECOND, "two"))
        assert panel.fetched == 2
        assert await judge.believes(token(FIRST, "one"))
        [said] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert said.startswith("HELIOGRAPH_JWT_JWKS_URL: no key set (")
        assert reason in said
        assert said.endswith("the old keys go on")


async def test_a_key_set_from_which_all_was_withdrawn_is_one(panel: Panel, caplog: pytest.LogCaptureFixture) -> None:
    async with judging(panel.url) as judge:
        panel.content = key_set()
        assert not await judge.believes(token(SECOND, "two"))
        assert not await judge.believes(token(FIRST, "one"))
    assert "there is no key in it that can be used" in caplog.text


# --- what a key set may hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "is_used"),
    [
        ({}, True),
        ({"use": "sig", "alg": "RS256"}, True),
        ({"use": "enc"}, False),
        ({"alg": "RS512"}, False),
        ({"alg": "RSA-OAEP"}, False),
        ({"key_ops": ["encrypt"]}, False),
        ({"key_ops": "verify"}, False),
        ({"kty": "oct", "k": "c2VjcmV0"}, False),
        ({"kty": "EC"}, False),
        ({"kty": None}, False),
        ({"kid": 7}, False),
        ({"n": "!"}, False),
        ({"n": 7}, False),
        ({"d": "AQAB"}, False),
    ],
    ids=str,
)
def test_only_public_keys_that_check_signatures_are_used(members: dict[str, Any], *, is_used: bool) -> None:
    found = keys_of(key_set(jwk(FIRST, "one", **members), jwk(SECOND, "two")), ALGORITHMS)
    assert set(found) == {("two", "RS256"), *([("one", "RS256")] if is_used else [])}


def test_a_private_half_is_not_used() -> None:
    private = {**RSAAlgorithm.to_jwk(FIRST, as_dict=True), "kid": "one", "key_ops": ["sign", "verify"]}
    assert "d" in private
    assert keys_of(key_set(private), ALGORITHMS) == {}


def test_a_key_that_is_too_short_is_not_used() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    assert keys_of(key_set(jwk(short, "short")), ALGORITHMS) == {}


def test_what_is_no_key_at_all_harms_no_other() -> None:
    odd: list[Any] = [None, 7, "key", [], {}, {"kty": []}, {"kty": "OKP", "crv": "X25519", "x": "AAAA"}]
    assert set(keys_of(key_set(*odd, jwk(FIRST, "one")), ALGORITHMS)) == {("one", "RS256")}


@pytest.mark.parametrize("document", [b"", b"null", b"7", b'"keys"', b"{}", b'{"keys": 7}', b"\xff", b"[" * 10_000])
def test_what_is_no_key_set_says_so(document: bytes) -> None:
    with pytest.raises(InvalidKeySetError):
        keys_of(document, ALGORITHMS)
