"""The bytes that go out: spliced, not re-serialised; signed so that the public library, not ours, accepts them."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from publisher.delivery import request
from tests.support.jobs import a_job, a_message, an_endpoint

MOMENT = datetime(2026, 11, 1, tzinfo=UTC)
ZERO_SIGNATURE = "v1," + base64.b64encode(bytes(32)).decode()

keys = st.binary(min_size=24, max_size=64)
bodies = st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
message_ids = st.text("0123456789abcdef", min_size=1, max_size=30).map("msg_".__add__)


def _now() -> int:
    """Receivers refuse a timestamp that is more than minutes off; this one is right."""
    return int(datetime.now(UTC).timestamp())


# --- the body --------------------------------------------------------------------------------------------------------


def test_a_body_is_exactly_these_bytes() -> None:
    body = request.body("msg_1", "server.power.on", MOMENT, 42, b'{"bastion":"STO"}')
    assert body == (
        b'{"id":"msg_1","type":"server.power.on","timestamp":"2026-11-01T00:00:00Z","sequence":42,'
        b'"data":{"bastion":"STO"}}'
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53) | st.booleans() | st.none(), max_size=5))
def test_a_body_is_json_with_its_keys_in_the_documented_order(data: dict[str, object]) -> None:
    parsed = orjson.loads(request.body("msg_1", "topup.created", MOMENT, 7, orjson.dumps(data)))
    assert list(parsed) == ["id", "type", "timestamp", "sequence", "data"]
    assert parsed["data"] == data
    assert (parsed["id"], parsed["type"], parsed["sequence"]) == ("msg_1", "topup.created", 7)


@pytest.mark.parametrize(
    "data",
    [
        b'{"amount_usd":50.00}',  # a parser would make it 50.0
        b'{ "b" : 1,\n  "a" : 2 }',
        b'{"n":123456789012345678901234567890}',
        b'{"a":1,"a":2}',
        b'{"s":"\\u00e9\\ud83d\\ude00 \xc3\xa9"}',
        b'{"e":1E400,"z":-0.0}',
        b"{}",
    ],
)
def test_data_is_spliced_in_byte_for_byte(data: bytes) -> None:
    assert request.body("msg_1", "t", MOMENT, 1, data).endswith(b'"sequence":1,"data":' + data + b"}")


@given(json_values, st.integers(0, 4))
def test_whatever_the_control_plane_wrote_comes_out_as_it_was(value: object, indent: int) -> None:
    raw = orjson.dumps(str(value)) if indent % 2 else str(value).encode("utf-8", "replace")
    assert request.body("m", "t", MOMENT, 1, raw).partition(b'"data":')[2] == raw + b"}"


@pytest.mark.parametrize(
    ("time", "written"),
    [
        (MOMENT, "2026-11-01T00:00:00Z"),
        (MOMENT + timedelta(milliseconds=250), "2026-11-01T00:00:00.250000Z"),
        (MOMENT + timedelta(microseconds=1), "2026-11-01T00:00:00.000001Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_timestamps_are_rfc_3339_in_utc(time: datetime, written: str) -> None:
    assert orjson.loads(request.body("m", "t", time, 1, b"{}"))["timestamp"] == written
    assert datetime.fromisoformat(written) == time


# --- the signature ---------------------------------------------------------------------------------------------------


@given(message_ids, bodies, keys)
def test_the_public_library_verifies_a_signature(message_id: str, body: bytes, key: bytes) -> None:
    timestamp = _now()
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": request.signature([key], message_id, timestamp, body),
    }
    Webhook(key).verify(body, headers, json_parse=False)
    for tampered in (
        {**headers, "webhook-id": message_id + "0"},
        {**headers, "webhook-timestamp": str(timestamp - 1)},
        {**headers, "webhook-signature": ZERO_SIGNATURE},
    ):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(key).verify(body, tampered, json_parse=False)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(key).verify(body + b" ", headers, json_parse=False)


@given(bodies, st.lists(keys, min_size=2, max_size=2, unique=True))
def test_during_a_rotation_both_keys_sign_the_newest_first(body: bytes, both: list[bytes]) -> None:
    timestamp = _now()
    signature = request.signature(both, "msg_1", timestamp, body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    for key in both:
        Webhook(key).verify(body, headers, json_parse=False)
    parts = signature.split(" ")
    assert parts == [request.signature([key], "msg_1", timestamp, body) for key in both]
    with pytest.raises(WebhookVerificationError):
        Webhook(b"somebody else's key, 24 bytes or more").verify(body, headers, json_parse=False)


def test_the_standards_own_example_signs_as_published() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, libraries/*/test: the vector every library carries
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = request.signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(message_ids, bodies, st.binary(min_size=32, max_size=32))
def test_an_asymmetric_signature_stands_after_the_others_and_verifies_with_the_public_key_alone(
    message_id: str, body: bytes, seed: bytes
) -> None:
    signer = Ed25519PrivateKey.from_private_bytes(seed)
    timestamp = _now()
    signature = request.signature([seed, bytes(24)], message_id, timestamp, body, (signer,))
    *symmetric, last = signature.split(" ")
    assert " ".join(symmetric) == request.signature([seed, bytes(24)], message_id, timestamp, body)
    version, _, encoded = last.partition(",")
    made = base64.b64decode(encoded, validate=True)
    assert (version, len(made)) == ("v1a", 64)
    public = Ed25519PublicKey.from_public_bytes(signer.public_key().public_bytes_raw())
    signed = message_id.encode() + b"." + str(timestamp).encode() + b"." + body
    public.verify(made, signed)
    for tampered in (signed + b" ", signed.replace(b".", b"", 1), body):
        with pytest.raises(InvalidSignature):
            public.verify(made, tampered)


def test_the_public_library_passes_over_an_asymmetric_signature() -> None:
    timestamp, key = _now(), bytes(range(32))
    signature = request.signature([key], "msg_1", timestamp, b"{}", (Ed25519PrivateKey.generate(),))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    Webhook(key).verify(b"{}", headers)


def test_during_a_rotation_every_key_of_either_kind_signs() -> None:
    signers = (Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate())
    parts = request.signature([b"new" * 8, b"old" * 8], "msg_1", 1, b"{}", signers).split(" ")
    assert [part.partition(",")[0] for part in parts] == ["v1", "v1", "v1a", "v1a"]
    for signer, part in zip(signers, parts[2:], strict=True):
        signer.public_key().verify(base64.b64decode(part.removeprefix("v1a,")), b"msg_1.1.{}")


# --- the headers -----------------------------------------------------------------------------------------------------


def test_the_headers_are_the_contracts_and_no_others() -> None:
    job = a_job("dlv_9", attempt=2)
    headers = request.headers(job, 1767225600, "x-nb-")
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1767225600",
        "webhook-signature": request.signature(job.endpoint.keys, "msg_1", 1767225600, job.message.body),
        "x-nb-event": "server.power.on",
        "x-nb-delivery": "dlv_9",
        "x-nb-attempt": "2",
    }


def test_the_endpoints_signers_sign_too() -> None:
    signer = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    endpoint = dataclasses.replace(an_endpoint(), signers=(signer,))
    headers = request.headers(a_job(endpoint=endpoint), 1767225600, "x-nb-")
    job = a_job()
    expected = request.signature(endpoint.keys, job.message.id, 1767225600, job.message.body, (signer,))
    assert headers["webhook-signature"] == expected  # Ed25519 is deterministic
    assert " v1a," in expected


def test_the_prefix_is_the_houses() -> None:
    names = set(request.headers(a_job(), 1, "x-shardlyn-")) - set(request.headers(a_job(), 1, "x-nb-"))
    assert names == {"x-shardlyn-event", "x-shardlyn-delivery", "x-shardlyn-attempt"}


def test_every_attempt_has_the_same_id_and_body_and_its_own_timestamp_and_signature() -> None:
    message, endpoint, start = a_message(), an_endpoint(), _now()
    attempts = [
        request.headers(a_job(message=message, endpoint=endpoint, attempt=number), start + 100 * number, "x-nb-")
        for number in (1, 2, 3)
    ]
    assert {headers["webhook-id"] for headers in attempts} == {message.id}
    assert {headers["x-nb-delivery"] for headers in attempts} == {"dlv_1"}
    assert [headers["x-nb-attempt"] for headers in attempts] == ["1", "2", "3"]
    assert len({headers["webhook-timestamp"] for headers in attempts}) == 3
    assert len({headers["webhook-signature"] for headers in attempts}) == 3
    for headers in attempts[:2]:
        Webhook(endpoint.keys[0]).verify(message.body, headers)


def test_nothing_goes_out_unsigned() -> None:
    with pytest.raises(ValueError, match="no secret"):
        request.signature((), "msg_1", 1_767_225_600, b"{}")
