"""Tokens: what is believed of one, and every way to be refused alike."""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from publisher.api.key_set import KeySet
from publisher.api.tokens import JUDGED_FOR, LEEWAY, Claims, InvalidTokenError, Tokens, sign
from runtime import settings as runtime_settings
from tests.support.time import FakeClock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

SECRET = "a secret of tests that is long enough for HS256"  # noqa: S105 - of tests
ISSUER, AUDIENCE = "https://panel.example", "heliograph"
CLOCK = FakeClock()
NOW = int(CLOCK.unix())
GOOD: dict[str, Any] = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "acct_1", "sid": "ses_1", "scope": "read-only full", "exp": NOW + 60,
}  # fmt: skip
BELIEVED = Claims("acct_1", "ses_1", frozenset({"read-only", "full"}))
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Pinned:
    """One key, for some algorithms."""

    def __init__(self, key: Any, *algorithms: str) -> None:
        self.algorithms: Sequence[str] = algorithms
        self._key = key

    async def key(self, algorithm: str, key_id: str | None) -> Any:
        assert algorithm in self.algorithms
        return None if key_id == "unknown" else self._key

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()


def judge(key: Any = SECRET, *algorithms: str) -> Tokens:
    return Tokens(Pinned(key, *(algorithms or ("HS256",))), issuer=ISSUER, audience=AUDIENCE, clock=CLOCK)


def with_(**changes: Any) -> dict[str, Any]:
    """Return good claims with changes; None takes one away."""
    return {name: value for name, value in (GOOD | changes).items() if value is not None}


async def refuses(token: str, tokens: Tokens | None = None) -> None:
    with pytest.raises(InvalidTokenError):
        await (tokens or judge()).claims(token)


def unsigned(header: object, payload: object = None) -> str:
    parts = (json.dumps(part).encode() for part in (header, GOOD if payload is None else payload))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def handmade(header: object) -> str:
    """Return a token with a good signature and a header that no library would write."""
    signed = unsigned(header).removesuffix(".")
    signature = hmac.digest(SECRET.encode(), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, BELIEVED),
        ({"sid": None, "jti": "ses_1"}, BELIEVED),
        ({"jti": "another"}, BELIEVED),
        ({"aud": ["somebody", AUDIENCE]}, BELIEVED),
        ({"scope": None, "scopes": ["read-only", "full"]}, BELIEVED),
        ({"scopes": ["billing-write"]}, BELIEVED),
        ({"scope": ""}, Claims("acct_1", "ses_1", frozenset())),
        ({"scope": None}, Claims("acct_1", "ses_1", frozenset())),
        (
            {"tier": "developer", "audit": True},
            Claims("acct_1", "ses_1", BELIEVED.scopes, "developer", is_audited=True),
        ),
        ({"tier": 3, "audit": "yes"}, BELIEVED),
        ({"nbf": NOW, "iat": NOW}, BELIEVED),
        ({"nbf": NOW + LEEWAY, "iat": NOW + LEEWAY}, BELIEVED),
        ({"exp": NOW - LEEWAY + 1}, BELIEVED),
        ({"exp": NOW + 0.5}, BELIEVED),
    ],
)
async def test_what_a_token_says_is_believed(changes: dict[str, Any], expected: Claims) -> None:
    assert await judge().claims(sign(with_(**changes), SECRET)) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": NOW - LEEWAY},
        {"exp": 0},
        {"exp": "never"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": 10**400},
        {"exp": -1},
        {"nbf": NOW + LEEWAY + 1},
        {"iat": NOW + LEEWAY + 1},
        {"nbf": "soon"},
        {"nbf": True},
        {"iss": None},
        {"iss": "https://evil.example"},
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"aud": None},
        {"aud": "somebody"},
        {"aud": []},
        {"aud": AUDIENCE[:-1]},
        {"sub": None},
        {"sub": ""},
        {"sub": "no such"},
        {"sub": "acct\x00"},
        {"sid": None},
        {"sid": ""},
        {"sid": 7},
        {"sid": "a b"},
        {"sid": "x" * 129},
        {"scope": 7, "scopes": "full"},
        {"scope": None, "scopes": ["full", 7]},
        {"scope": None, "scopes": {"full": True}},
    ],
    ids=str,
)
async def test_what_a_token_may_not_say_is_refused(changes: dict[str, Any]) -> None:
    if isinstance(changes.get("iss"), list):  # the library that signs refuses to write it
        token = jwt.api_jws.encode(json.dumps(with_(**changes)).encode(), SECRET, "HS256")
    else:
        token = sign(with_(**changes), SECRET)
    await refuses(token)


async def test_time_goes_by_our_clock() -> None:
    clock = FakeClock()
    tokens = Tokens(Pinned(SECRET, "HS256"), issuer=ISSUER, audience=AUDIENCE, clock=clock)
    token = sign(GOOD, SECRET)
    assert await tokens.claims(token) == BELIEVED
    clock.advance(60 + LEEWAY - 1)
    assert await tokens.claims(token) == BELIEVED
    clock.advance(1)
    await refuses(token, tokens)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", None, 7, ["HS256"]]
)
async def test_an_algorithm_that_is_not_ours_to_name_is_refused(algorithm: object) -> None:
    await refuses(unsigned({"alg": algorithm, "typ": "JWT"}))
    await refuses(unsigned({"typ": "JWT"}))


async def test_another_secret_and_another_hash_are_refused() -> None:
    await refuses(sign(GOOD, SECRET[::-1]))
    await refuses(jwt.encode(GOOD, SECRET * 2, "HS512"))


async def test_a_public_key_is_no_shared_secret() -> None:
    """The old confusion: what is published, taken for what only two know."""
    tokens = judge(RSA.public_key(), "RS256")
    assert await tokens.claims(jwt.encode(GOOD, RSA, "RS256")) == BELIEVED
    signed_with_pem = jwt.api_jws.PyJWS()
    signed_with_pem.unregister_algorithm("HS256")

    class Careless(jwt.algorithms.HMACAlgorithm):
        def prepare_key(self, key: Any) -> bytes:
            return bytes(key)

    signed_with_pem.register_algorithm("HS256", Careless(Careless.SHA256))
    forged = signed_with_pem.encode(json.dumps(GOOD).encode(), RSA_PUBLIC, "HS256")
    await refuses(forged, tokens)
    await refuses(forged, judge(RSA_PUBLIC))
    await refuses(jwt.encode(GOOD, RSA, "PS256"), tokens)


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/certificate"},
        {"x5c": ["MIIB"]},
    ],
    ids=lambda header: next(iter(header)),
)
async def test_keys_that_a_token_brings_along_are_not_used(header: dict[str, Any]) -> None:
    ours = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tokens = judge(ours.public_key(), "RS256")
    await refuses(jwt.encode(GOOD, RSA, "RS256", headers=header), tokens)
    assert await tokens.claims(jwt.encode(GOOD, ours, "RS256", headers=header)) == BELIEVED


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"], "exp": NOW}, {"crit": ["b64"], "b64": True}, {"crit": []}, {"crit": None}], ids=str
)
async def test_what_wants_to_be_understood_is_refused(header: dict[str, Any]) -> None:
    await refuses(handmade({"alg": "HS256", **header}))
    assert await judge().claims(handmade({"alg": "HS256"})) == BELIEVED


async def test_a_key_that_is_not_known_is_refused() -> None:
    await refuses(jwt.encode(GOOD, SECRET, "HS256", headers={"kid": "unknown"}))
    token = unsigned({"alg": "HS256", "kid": 7})
    await refuses(token)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA, "PS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["PS256", "ES256", "EdDSA"],
)
async def test_public_keys_of_every_kind_are_taken(key: Any, algorithm: str) -> None:
    tokens = judge(key.public_key(), algorithm)
    assert await tokens.claims(jwt.encode(GOOD, key, algorithm)) == BELIEVED
    good = jwt.encode(GOOD, key, algorithm)
    head, body, signature = good.split(".")
    await refuses(f"{head}.{body}.{'A' * len(signature)}", tokens)


@pytest.mark.parametrize("part", [b"[" * 6000, b'{"alg":' * 3000, b"\xff\xfe", b"", b"null", b"7", b'"HS256"'])
async def test_a_header_that_is_none_is_refused(part: bytes) -> None:
    await refuses(f"{base64.urlsafe_b64encode(part).rstrip(b'=').decode()}.e30.AAAA")


async def test_a_payload_that_is_none_is_refused() -> None:
    for payload in (b"[" * 6000, b"[]", b"7", b"null", b"\xff"):
        await refuses(jwt.api_jws.encode(payload, SECRET, "HS256"))


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        judge().claims(text).send(None)


# --- from settings ---------------------------------------------------------------------------------------------------

SETTINGS = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}


def of(**values: Any) -> Tokens:
    return Tokens.of(runtime_settings.load(environ={}, **values), CLOCK)


async def test_a_shared_secret_is_for_one_algorithm() -> None:
    tokens = of(jwt_secret=SECRET, **SETTINGS)
    assert await tokens.claims(sign(GOOD, SECRET)) == BELIEVED
    await refuses(jwt.encode(GOOD, SECRET * 2, "HS512"), tokens)


async def test_without_keys_no_token_is_believed() -> None:
    for token in (sign(GOOD, SECRET), sign(GOOD | {"iss": "", "aud": ""}, SECRET), unsigned({"alg": "none"})):
        await refuses(token, of())


@pytest.mark.parametrize(
    "values",
    [
        {"jwt_algorithms": "RS256,HS256"},
        {"jwt_algorithms": "none"},
        {"jwt_algorithms": "rs256"},
        {"jwt_algorithms": ","},
        {"jwt_jwks_url": "http://panel.example/keys"},
        {"jwt_jwks_url": "file:///etc/keys", "env": "development"},
        {"jwt_secret": SECRET},
    ],
    ids=str,
)
def test_settings_that_would_let_anybody_in_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(runtime_settings.SettingsError, match=f"HELIOGRAPH_{next(iter(values)).upper()}"):
        of(**SETTINGS, **{"jwt_jwks_url": "https://panel.example/keys", **values})


@pytest.mark.parametrize("algorithm", ["HS256", "HS512", "none"])
def test_no_set_of_published_keys_takes_an_algorithm_with_a_secret(algorithm: str) -> None:
    with pytest.raises(ValueError, match=algorithm):
        KeySet("https://panel.example/keys", ["RS256", algorithm], CLOCK, refresh=1, cooldown=1)


def test_in_development_keys_may_come_over_http() -> None:
    of(**SETTINGS, jwt_jwks_url="http://127.0.0.1:1/keys", env="development")
    of(**SETTINGS, jwt_jwks_url="https://panel.example/keys")


async def test_a_signature_that_was_right_is_not_looked_at_again_for_a_while() -> None:
    """Most of a token's cost; its times are judged at every request, and a withdrawn key counts for so long."""
    clock, keys = FakeClock(), Withdrawn()
    tokens = Tokens(keys, issuer="panel", audience="api", clock=clock)
    claims = {"sub": "acct_1", "sid": "s1", "iss": "panel", "aud": "api"}
    token, brief = (sign(claims | {"exp": clock.unix() + ttl}, Withdrawn.SECRET) for ttl in (3600, 10))
    for each in (token, token, brief, brief):
        assert (await tokens.claims(each)).account == "acct_1"
    assert keys.asked == 2
    keys.is_withdrawn = True
    assert (await tokens.claims(token)).account == "acct_1"
    with pytest.raises(InvalidTokenError):
        await tokens.claims(token[:-4] + "AAAA")
    clock.advance(JUDGED_FOR + 1)
    with pytest.raises(InvalidTokenError):
        await tokens.claims(token)


async def test_a_token_that_ends_is_refused_at_once_whatever_was_judged() -> None:
    clock = FakeClock()
    tokens = Tokens(Withdrawn(), issuer="panel", audience="api", clock=clock)
    token = sign(
        {"sub": "a", "sid": "s", "iss": "panel", "aud": "api", "exp": clock.unix() - LEEWAY + 5}, Withdrawn.SECRET
    )
    assert (await tokens.claims(token)).account == "a"
    clock.advance(6)
    with pytest.raises(InvalidTokenError):
        await tokens.claims(token)


class Withdrawn:
    """One secret that may be taken back, and how often it was asked for."""

    SECRET = "x" * 32
    algorithms = ("HS256",)

    def __init__(self) -> None:
        self.asked = 0
        self.is_withdrawn = False

    async def key(self, algorithm: str, key_id: str | None) -> str | None:
        assert (algorithm, key_id) == ("HS256", None)
        self.asked += 1
        return None if self.is_withdrawn else self.SECRET

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()
