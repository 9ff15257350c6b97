"""Who calls: a bearer token of the control plane, or an API key.

Whatever is wrong with a credential, the answer is the same one, and takes the same look-ups: nobody learns from it
which keys there are. A database that is away is no wrong credential and stays what it is, for the caller to try again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from consumers.credential_records import API_KEY, SESSION, is_id
from publisher.api.call import Principal
from publisher.api.clients import is_in, parsed
from publisher.api.errors import ApiError
from publisher.api.tokens import InvalidTokenError
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from datetime import datetime

    from multidict import MultiMapping

    from consumers.credential_records import Credential
    from consumers.credentials import Credentials
    from publisher.api.call import Client
    from publisher.api.tokens import Tokens
    from publisher.profiles.model import Carrier
    from publisher.profiles.model import Credentials as Style
    from runtime.clock import Clock

BEARER = "bearer"
#: What the secret of an unknown key is compared with.
_NOBODYS = bytes(hashlib.sha256().digest_size)
#: A credential is one run of visible ASCII; two header lines that a proxy made one are not.
_VISIBLE = re.compile(r"[!-+\--~]+")
_REFUSED = (
    "This credential is not valid: it may be mistyped, unknown, expired or revoked, or not for use from this address "
    "or without its client certificate."
)


class Authenticator:
    """Turns the credential of a request into the principal it stands for."""

    def __init__(self, style: Style, credentials: Credentials, tokens: Tokens, clock: Clock) -> None:
        """`style` is how the provider has credentials sent."""
        self._style = style
        self._credentials = credentials
        self._tokens = tokens
        self._clock = clock

    async def principal(self, headers: MultiMapping[str], client: Client) -> Principal:
        """Return who calls; raises `ApiError` (unauthenticated), the same for every reason but a missing credential.

        Raises what the database raises, and `ApiError` (unavailable) where tokens cannot be judged yet.
        """
        carriers = self._style.carriers
        carrier = next((each for each in carriers if _carries(each, headers)), None)
        if carrier is None:
            if any(each.header in headers for each in carriers):
                raise self._refused()
            raise self._missing()
        credential = _carried(carrier, headers)
        prefix = self._style.api_key_prefix
        if credential is None:
            found = None
        elif credential.startswith(prefix):
            found = await self._by_key(credential.removeprefix(prefix), client)
        else:
            found = await self._by_token(credential, client)
        if found is None:
            raise self._refused(carrier)
        return found

    async def _by_key(self, key: str, client: Client) -> Principal | None:
        """Judge `<id>_<secret>`; the id goes up to the last underscore."""
        credential_id, _, secret = key.rpartition("_")
        known = await self._credentials.get(credential_id) if is_id(credential_id) else None
        expected = _NOBODYS if known is None or known.secret_sha256 is None else known.secret_sha256
        is_right = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), expected)
        if known is None or not is_right or not _is_usable(known, API_KEY, client, self._clock.now()):
            return None
        return Principal(API_KEY, known.id, known.account, known.scopes, known.tier, known.is_audited)

    async def _by_token(self, token: str, client: Client) -> Principal | None:
        """Judge a token, and the session it belongs to.

        The topic of credentials is a list of ended sessions: one that it never named is good. What it says of others
        holds, beside the token. consumers/credential_topic.py says for how long tombstones must be there for that.
        """
        try:
            claims = await self._tokens.claims(token)
        except InvalidTokenError:
            return None
        scopes, tier, is_audited = claims.scopes, claims.tier, claims.is_audited
        known = await self._credentials.get(claims.session)
        if known is not None:
            if known.account != claims.account or not _is_usable(known, SESSION, client, self._clock.now()):
                return None
            scopes = scopes & known.scopes if known.scopes else scopes
            tier, is_audited = known.tier or tier, known.is_audited or is_audited
        return Principal(SESSION, claims.session, claims.account, scopes, tier, is_audited)

    def _missing(self) -> ApiError:
        asked = " or ".join(
            f"`{each.header}: {each.scheme} …`" if each.scheme else f"`{each.header}: …`"
            for each in self._style.carriers
        )
        return ApiError(
            Fault.UNAUTHENTICATED,
            "credential_missing",
            f"This needs a credential, sent as {asked}.",
            headers=_challenge(self._scheme()),
        )

    def _refused(self, carrier: Carrier | None = None) -> ApiError:
        scheme = carrier.scheme if carrier else self._scheme()
        return ApiError(
            Fault.UNAUTHENTICATED, "invalid_credential", _REFUSED, headers=_challenge(scheme, ' error="invalid_token"')
        )

    def _scheme(self) -> str | None:
        return next((each.scheme for each in self._style.carriers if each.scheme), None)


def _is_usable(credential: Credential, kind: str, client: Client, now: datetime) -> bool:
    """Say whether a credential is in force, of this kind, and for use by this client. Pure."""
    return (
        not credential.is_revoked
        and credential.kind == kind
        and (credential.expires_at is None or now < credential.expires_at)
        and (not credential.networks or _is_within(credential, client.address))
        and (not credential.certificates or client.certificate in credential.certificates)
    )


def _is_within(credential: Credential, text: str) -> bool:
    address = parsed(text)
    return address is not None and is_in(address, credential.networks)


def _carries(carrier: Carrier, headers: MultiMapping[str]) -> bool:
    """Say whether a header is there, with the scheme in front of it that is asked for."""
    return any(
        carrier.scheme is None or value.partition(" ")[0].lower() == carrier.scheme.lower()
        for value in headers.getall(carrier.header, [])
    )


def _carried(carrier: Carrier, headers: MultiMapping[str]) -> str | None:
    """Return the credential; None where there are several, or none that could be one."""
    values = headers.getall(carrier.header)
    text = values[0] if carrier.scheme is None else values[0].partition(" ")[2]
    text = text.strip(" \t")
    return text if len(values) == 1 and _VISIBLE.fullmatch(text) else None


def _challenge(scheme: str | None, error: str = "") -> dict[str, str]:
    """Return what a 401 says of how to do better (RFC 9110, 11.6.1; RFC 6750, 3): nothing, where no scheme is named."""
    if scheme is None:
        return {}
    return {"WWW-Authenticate": f"{scheme}{error if scheme.lower() == BEARER else ''}"}
