"""A webhook as its receiver saved it: signatures of Standard Webhooks over id, timestamp and the exact body. Pure.

`v1` is an HMAC under the endpoint's secret: it proves that who sent it knows the secret, which the receiver does too.
`v1a` is Ed25519: a proof for third parties.
"""

from __future__ import annotations

import base64
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from publisher.cli.canary_pages import distance
from publisher.cli.verify_headers import WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, decoded
from publisher.cli.verify_outcome import Kind, Outcome, Problem, Reason, shown
from publisher.delivery.request import signature
from publisher.secrets import PREFIX, PUBLIC_PREFIX
from signer.statement import moment_text, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Standard Webhooks: how far a timestamp may be from now.
TOLERANCE = timedelta(minutes=5)
#: Standard Webhooks: bytes a symmetric secret may have.
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
_TIMESTAMP = re.compile(r"[0-9]{1,11}")
#: A signature whose scheme is none of these is somebody else's business.
_SCHEMES = HMAC, ED25519 = "v1", "v1a"


def secrets_of(text: str) -> list[bytes]:
    """Return the secrets of a text, one a line, the endpoint's and former ones; raises ValueError, repeating none."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            encoded = line.strip().removeprefix(PREFIX)
            secret = decoded(encoded + "=" * (-len(encoded) % 4))
            if not line.strip().startswith(PREFIX) or secret is None:
                raise ValueError(f"line {number} is no {PREFIX}… secret")
            if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
                raise ValueError(f"line {number}: a secret has {SHORTEST_SECRET} to {LONGEST_SECRET} bytes")
            found.append(secret)
    if not found:
        raise ValueError(f"there is no {PREFIX}… secret in it")
    return found


def public_key(text: str) -> Ed25519PublicKey:
    """Return an endpoint's public key; raises ValueError."""
    raw = decoded(text.strip().removeprefix(PUBLIC_PREFIX)) if text.strip().startswith(PUBLIC_PREFIX) else None
    try:
        return Ed25519PublicKey.from_public_bytes(raw or b"")
    except ValueError:
        raise ValueError(f"{shown(text)!r} is no {PUBLIC_PREFIX}… key of 32 bytes") from None


def judge(
    content: bytes,
    headers: Mapping[str, str],
    *,
    secrets: Sequence[bytes],
    public_keys: Sequence[Ed25519PublicKey],
    now: datetime,
    is_any_age: bool,
) -> Outcome:
    """Judge a body as of `now`: where there are secrets one must have signed it, where there are keys one as well."""
    problems = list(_of_headers(headers))
    notes: list[str] = []
    details: list[str] = []
    held: list[str] = []
    fields: dict[str, object] = {"id": headers.get(WEBHOOK_ID), "made_at": None, "signatures": held}
    if not problems:
        made_at = datetime.fromtimestamp(int(headers[WEBHOOK_TIMESTAMP]), UTC)
        fields["made_at"] = moment_text(made_at)
        details.append(f"webhook-id {shown(headers[WEBHOOK_ID])}, timestamp {moment_text(made_at)}")
        if fault := _timestamp_fault(made_at, now):
            notes += [fault] if is_any_age else []
            problems += (
                [] if is_any_age else [Problem(Reason.BAD_TIMESTAMP, f"{fault}; --any-age takes it all the same")]
            )
        held += _held(content, headers, secrets, public_keys)
        problems += _of_signatures(held, headers, has_secrets=bool(secrets), has_public_keys=bool(public_keys))
    return Outcome(
        kind=Kind.WEBHOOK,
        what=_what(content),
        sha256=sha256(content),
        problems=tuple(problems),
        details=tuple(details),
        notes=tuple(notes),
        summary=f"{' and '.join(held)} of {len(headers.get(WEBHOOK_SIGNATURE, '').split())} signatures" if held else "",
        fields=fields,
        content=content,
    )


def _of_headers(headers: Mapping[str, str]) -> Iterator[Problem]:
    for name in (WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE):
        if not headers.get(name):
            yield Problem(Reason.BAD_HEADER, f"{name} is missing")
    timestamp = headers.get(WEBHOOK_TIMESTAMP)
    if timestamp and not _TIMESTAMP.fullmatch(timestamp):
        yield Problem(Reason.BAD_HEADER, f"{WEBHOOK_TIMESTAMP} is no number of seconds")


def _timestamp_fault(made_at: datetime, now: datetime) -> str:
    if abs(now - made_at) <= TOLERANCE:
        return ""
    return f"its timestamp is {distance(made_at, now)}; receivers allow {TOLERANCE.seconds} seconds"


def _held(
    content: bytes, headers: Mapping[str, str], secrets: Sequence[bytes], public_keys: Sequence[Ed25519PublicKey]
) -> Iterator[str]:
    """Yield the schemes under which one of the keys has signed."""
    message_id, timestamp = headers[WEBHOOK_ID], headers[WEBHOOK_TIMESTAMP]
    given = [each.partition(",") for each in headers[WEBHOOK_SIGNATURE].split()]
    made = {scheme: [decoded(value) or b"" for found, _, value in given if found == scheme] for scheme in _SCHEMES}
    expected = [
        base64.b64decode(signature([secret], message_id, int(timestamp), content).partition(",")[2])
        for secret in secrets
    ]
    if any(hmac.compare_digest(one, other) for one in expected for other in made[HMAC]):
        yield HMAC
    signed = b"%b.%d.%b" % (message_id.encode(), int(timestamp), content)
    if any(_is_signed(key, each, signed) for key in public_keys for each in made[ED25519]):
        yield ED25519


def _is_signed(key: Ed25519PublicKey, made: bytes, signed: bytes) -> bool:
    try:
        key.verify(made, signed)
    except InvalidSignature:
        return False
    return True


def _of_signatures(
    held: Sequence[str], headers: Mapping[str, str], *, has_secrets: bool, has_public_keys: bool
) -> Iterator[Problem]:
    schemes = {each.partition(",")[0] for each in headers[WEBHOOK_SIGNATURE].split()}
    for scheme, is_asked, what in ((HMAC, has_secrets, "the secret"), (ED25519, has_public_keys, "the public key")):
        if is_asked and scheme not in schemes:
            yield Problem(Reason.NO_SIGNATURE, f"{WEBHOOK_SIGNATURE} has no {scheme}")
        elif is_asked and scheme not in held:
            yield Problem(Reason.BAD, f"no {scheme} signature of {what} fits this id, timestamp and body")


def _what(content: bytes) -> str:
    try:
        named = orjson.loads(content)["type"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        named = None
    return f"webhook {shown(named)}" if isinstance(named, str) else "webhook"
