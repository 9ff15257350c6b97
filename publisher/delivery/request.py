"""A job -> the headers and the body that go out. Pure.

Standard Webhooks: the signature covers `id.timestamp.body`, the body is the stored bytes, the id is the same for
every attempt and the timestamp is this attempt's. One `v1` signature for each symmetric secret in force, newest
first, then one `v1a` for each private key.
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

import orjson

from publisher.delivery.headers import of_attempt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from publisher.queue import Job


class NoSecretError(ValueError):
    """There is no secret to sign with; why, the log has said where the secrets are opened."""


def body(message_id: str, event_type: str, time: datetime, sequence: int, data: bytes) -> bytes:
    """Return a message's JSON: `{"id","type","timestamp","sequence","data"}`.

    `data` is JSON text and is spliced in as it is; `time` is aware, UTC, written to the second or finer.
    """
    timestamp = time.isoformat().removesuffix("+00:00") + "Z"
    head = orjson.dumps({"id": message_id, "type": event_type, "timestamp": timestamp, "sequence": sequence})
    return b'%b,"data":%b}' % (head[:-1], data)


def signature(
    keys: Iterable[bytes], message_id: str, timestamp: int, content: bytes, signers: Sequence[Ed25519PrivateKey] = ()
) -> str:
    """Return the `webhook-signature` header, space-separated.

    `v1,<base64 HMAC-SHA256>` for each of `keys`, then `v1a,<base64 Ed25519, 64 bytes>` for each of `signers`.
    Raises `NoSecretError` without a key: nothing goes out unsigned.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, content)
    signatures = [f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys]
    if signers:
        signatures += [f"v1a,{base64.b64encode(signer.sign(signed)).decode()}" for signer in signers]
    if not signatures:
        raise NoSecretError("no secret to sign with")
    return " ".join(signatures)


def headers(job: Job, timestamp: int, prefix: str) -> dict[str, str]:
    """Return the headers that differ from request to request; `timestamp` is unix seconds of this attempt."""
    message, endpoint = job.message, job.endpoint
    return of_attempt(
        message_id=message.id,
        event_type=message.type,
        delivery_id=job.id,
        attempt=job.attempt,
        timestamp=timestamp,
        signature=signature(endpoint.keys, message.id, timestamp, message.body, endpoint.signers),
        prefix=prefix,
    )
