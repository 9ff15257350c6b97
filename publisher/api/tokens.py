"""Tokens of the control plane: JWTs, signed with a secret both sides know or with keys it publishes.

The algorithm, the issuer and the audience are ours to name. Of a token's own header two members are read, `alg` and
`kid`, and neither may lead anywhere but to keys we have: `jwk`, `jku` and `x5u` are not looked at, and a `crit` is
refused, for whoever writes one wants it understood (RFC 7515, 4.1.11).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import jwt

from consumers.credential_records import is_id
from consumers.decode import ACCOUNT
from publisher.api.key_set import KeySet

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from runtime.clock import Clock
    from runtime.settings import Settings

SHARED = "HS256"
#: Seconds a signature that was right is not looked at again, which is most of a token's cost, and how many are kept in
#: mind. Its times and its session are judged at every request; a key that is withdrawn counts for so long.
JUDGED_FOR, MOST_JUDGED = 30.0, 10_000
#: Seconds that the control plane's clock and ours may be apart.
LEEWAY = 30.0
#: Times in a token are Unix seconds, of years that have four digits.
_LATEST = 253_402_300_799
#: What PyJWT raises of a token it is given, and what Python does within it.
_REFUSALS = (jwt.PyJWTError, ValueError, TypeError)
_CHECKS: dict[str, Any] = {  # times are ours to judge, by our own clock
    "require": ["exp", "iss", "aud", "sub"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class InvalidTokenError(Exception):
    """A token is not one of the control plane's, or not any more; nobody is told which."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, which session it belongs to, what may be done with it."""

    account: str
    session: str
    scopes: frozenset[str]
    tier: str | None = None
    is_audited: bool = False


class Keys(Protocol):
    """Where the keys are that tokens are checked with."""

    @property
    def algorithms(self) -> Sequence[str]:
        """Return what is taken, by its name in RFC 7518; nothing else is."""
        ...

    async def key(self, algorithm: str, key_id: str | None) -> Any:  # noqa: ANN401 - a secret, or any kind of public key
        """Return a key for one of `algorithms`; None where there is none."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Keep them up to date until `stop`."""
        ...


class _Secret:
    """A key both sides know; without one there is no algorithm either, so every token is refused."""

    def __init__(self, secret: str | None) -> None:
        self.algorithms: Sequence[str] = (SHARED,) if secret else ()
        self._secret = secret

    async def key(self, algorithm: str, key_id: str | None) -> str | None:  # noqa: ARG002 - there is one for all
        return self._secret

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()


class Tokens:
    """Judges tokens."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, clock: Clock) -> None:
        """Believe what `issuer` signs for `audience` with one of `keys`."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        #: Payloads whose signatures were right, by their tokens' SHA-256, and until when nobody looks again.
        self._judged: dict[bytes, tuple[float, Mapping[str, Any]]] = {}

    @classmethod
    def of(cls, settings: Settings, clock: Clock) -> Self:
        """Return what settings believe, which may be no token at all; raises `SettingsError`."""
        secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        keys: Keys = KeySet.of(settings, settings.jwt_jwks_url, clock) if settings.jwt_jwks_url else _Secret(secret)
        return cls(keys, issuer=settings.jwt_issuer or "", audience=settings.jwt_audience or "", clock=clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the keys up to date until `stop`."""
        await self._keys.run(stop)

    async def claims(self, token: str) -> Claims:
        """Return what a token says; raises `InvalidTokenError`, or `ApiError` while no key has ever been had."""
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock.monotonic()
        until, payload = self._judged.get(digest, (now, None))
        if payload is None or now >= until:
            payload = await self._payload(token)
            self._keep(digest, (now + JUDGED_FOR, payload))
        return _claims(payload, self._clock.unix())

    def _keep(self, digest: bytes, judged: tuple[float, Mapping[str, Any]]) -> None:
        self._judged.pop(digest, None)
        self._judged[digest] = judged
        if len(self._judged) > MOST_JUDGED:
            del self._judged[next(iter(self._judged))]

    async def _payload(self, token: str) -> Mapping[str, Any]:
        """Return what a token says once its signature, issuer and audience are found to be right."""
        try:
            header = jwt.get_unverified_header(token)
        except _REFUSALS:
            raise InvalidTokenError from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._keys.algorithms or "crit" in header:
            raise InvalidTokenError
        key = await self._keys.key(algorithm, key_id)
        if key is None:
            raise InvalidTokenError
        try:
            payload: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                options=_CHECKS,  # type: ignore[arg-type]  # a TypedDict all of whose keys are optional
            )
        except _REFUSALS:
            raise InvalidTokenError from None
        return payload


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """Return a token as a control plane that shares our secret would sign it."""
    return jwt.encode(dict(claims), secret, SHARED)


def _claims(payload: Mapping[str, Any], now: float) -> Claims:
    """Return what a payload says at a time, in Unix seconds; raises `InvalidTokenError`. Pure."""
    expires, begins, issued = (_time(payload, name) for name in ("exp", "nbf", "iat"))
    if expires is None or expires + LEEWAY <= now:
        raise InvalidTokenError
    if any(each is not None and now < each - LEEWAY for each in (begins, issued)):
        raise InvalidTokenError
    account, session = payload["sub"], payload.get("sid", payload.get("jti"))
    if not isinstance(session, str) or not is_id(session) or not ACCOUNT.fullmatch(account):
        raise InvalidTokenError
    tier = payload.get("tier")
    return Claims(
        account,
        session,
        _scopes(payload),
        tier if isinstance(tier, str) else None,
        is_audited=payload.get("audit") is True,
    )


def _time(payload: Mapping[str, Any], name: str) -> float | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LATEST:
        raise InvalidTokenError
    return float(value)


def _scopes(payload: Mapping[str, Any]) -> frozenset[str]:
    """Read `scope`, words with spaces between them (RFC 8693, 4.2), or else `scopes`, a list."""
    given = payload.get("scope")
    words = given.split() if isinstance(given, str) else payload.get("scopes", [])
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise InvalidTokenError
    return frozenset(words)
