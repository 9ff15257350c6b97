"""Records of the credentials' topic: what each grants, and that whatever is not understood grants nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.credential_records import Credential, decode, id_of, is_id, network
from consumers.decode import InvalidRecordError, Reason
from tests.support.fake_broker import FIRST_TIMESTAMP, Stored

DIGEST = bytes(range(32))
KEY: dict[str, Any] = {"kind": "api_key", "account": "acct_1", "secret_sha256": DIGEST.hex(), "scopes": ["full"]}
SESSION: dict[str, Any] = {"kind": "session", "account": "acct_1"}
GRANTED = Credential("k1", kind="api_key", account="acct_1", secret_sha256=DIGEST, scopes=frozenset({"full"}))


def record(value: object, key: bytes | None = b"k1") -> Stored:
    """Return a record; bytes and None are its value as they are, anything else is written as JSON."""
    content = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Stored("credentials", 2, 7, FIRST_TIMESTAMP, key, content, ())


def test_a_tombstone_revokes() -> None:
    assert decode(record(None)) == Credential("k1", is_revoked=True)


def test_a_key_needs_no_more_than_its_account_its_secret_and_its_scopes() -> None:
    assert decode(record(KEY)) == GRANTED


def test_everything_a_record_may_say_is_read() -> None:
    full = {
        **KEY,
        "secret_sha256": DIGEST.hex().upper(),
        "scopes": ["read-only", "billing-read"],
        "cidrs": ["192.0.2.0/24", "2001:db8::/32"],
        "expires_at": "2026-12-01T01:00:00+01:00",
        "tier": "developer",
        "audit": True,
        "client_cert_sha256": "AB:" * 31 + "AB",
        "something_new": {"of": ["tomorrow"]},
    }
    assert decode(record(full)) == Credential(
        "k1",
        kind="api_key",
        account="acct_1",
        secret_sha256=DIGEST,
        scopes=frozenset({"read-only", "billing-read"}),
        networks=(IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/32")),
        certificates=frozenset({"ab" * 32}),
        expires_at=datetime(2026, 12, 1, tzinfo=UTC),
        tier="developer",
        is_audited=True,
    )


def test_several_certificates_may_be_pinned() -> None:
    pinned = decode(record({**KEY, "client_cert_sha256": ["ab" * 32, "CD" * 32]})).certificates
    assert pinned == {"ab" * 32, "cd" * 32}


@pytest.mark.parametrize("name", ["cidrs", "expires_at", "tier", "audit", "client_cert_sha256"])
def test_null_is_as_good_as_not_there(name: str) -> None:
    assert decode(record({**KEY, name: None})) == GRANTED


@pytest.mark.parametrize("secret", [None, "nonsense", 7, DIGEST.hex()])
def test_a_session_has_no_secret_whatever_its_record_says(secret: object) -> None:
    expected = Credential("k1", kind="session", account="acct_1")
    assert decode(record({**SESSION, "secret_sha256": secret})) == expected
    assert decode(record(SESSION)) == expected


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (b"", Reason.JSON, "value: Invalid JSON"),
        (b"{", Reason.JSON, "value: Invalid JSON"),
        (b"\xff", Reason.JSON, "value: Invalid JSON"),
        (b"[" * 100_000, Reason.JSON, "value: Invalid JSON"),
        (b"null", Reason.SCHEMA, "value: Input should be an object"),
        ([KEY], Reason.SCHEMA, "value: Input should be an object"),
        ({}, Reason.SCHEMA, "value.kind: Field required; value.account: Field required"),
        ({**KEY, "kind": "password"}, Reason.SCHEMA, "value.kind: "),
        ({**KEY, "account": "no such"}, Reason.SCHEMA, "value.account: "),
        ({**KEY, "account": 7}, Reason.SCHEMA, "value.account: "),
        ({**KEY, "secret_sha256": None}, Reason.SCHEMA, "value: an api_key needs `secret_sha256`"),
        ({**KEY, "secret_sha256": "ab" * 31}, Reason.SCHEMA, "value.secret_sha256: "),
        ({**KEY, "secret_sha256": "xy" * 32}, Reason.SCHEMA, "value.secret_sha256: "),
        ({**KEY, "secret_sha256": ["ab" * 32]}, Reason.SCHEMA, "value.secret_sha256: "),
        ({**KEY, "scopes": None}, Reason.SCHEMA, "value: an api_key needs"),
        ({**KEY, "scopes": "full"}, Reason.SCHEMA, "value.scopes: "),
        ({**KEY, "scopes": ["full", 1]}, Reason.SCHEMA, "value.scopes.1: "),
        ({**KEY, "scopes": ["two words"]}, Reason.SCHEMA, "value.scopes.0: "),
        ({**KEY, "scopes": ["full"] * 257}, Reason.SCHEMA, "value.scopes: "),
        ({**KEY, "cidrs": "10.0.0.0/8"}, Reason.SCHEMA, "value.cidrs: "),
        ({**KEY, "cidrs": ["10.0.0.0/33"]}, Reason.SCHEMA, "value.cidrs.0: "),
        ({**KEY, "cidrs": [167772160]}, Reason.SCHEMA, "value.cidrs.0: "),
        ({**KEY, "cidrs": [None]}, Reason.SCHEMA, "value.cidrs.0: "),
        ({**KEY, "expires_at": 1}, Reason.SCHEMA, "value.expires_at: "),
        ({**KEY, "expires_at": ""}, Reason.SCHEMA, "value.expires_at: "),
        ({**KEY, "expires_at": "2026-12-01"}, Reason.SCHEMA, "value.expires_at: "),
        ({**KEY, "expires_at": "2026-12-01T00:00:00"}, Reason.SCHEMA, "value.expires_at: "),
        ({**KEY, "expires_at": "0001-01-01T00:00:00+14:00"}, Reason.SCHEMA, "value.expires_at: "),
        ({**KEY, "tier": 3}, Reason.SCHEMA, "value.tier: "),
        ({**KEY, "tier": "a\x00b"}, Reason.SCHEMA, "value.tier: "),
        ({**KEY, "audit": 1}, Reason.SCHEMA, "value.audit: "),
        ({**KEY, "audit": "true"}, Reason.SCHEMA, "value.audit: "),
        ({**KEY, "client_cert_sha256": ""}, Reason.SCHEMA, "value.client_cert_sha256.0: "),
        ({**KEY, "client_cert_sha256": ["ab" * 32, "ab"]}, Reason.SCHEMA, "value.client_cert_sha256.1: "),
    ],
)
def test_what_is_not_understood_is_refused_and_not_repeated(value: object, reason: Reason, words: str) -> None:
    with pytest.raises(InvalidRecordError) as refused:
        decode(record(value))
    assert refused.value.reason is reason
    assert refused.value.detail.startswith(words)
    assert DIGEST.hex() not in str(refused.value)


@pytest.mark.parametrize("key", [None, b"", b"a b", b"a\x00", b"\xff", "clé".encode(), b"a" * 129, b"a,b", b"a\n"])
def test_a_record_that_names_no_credential_is_refused(key: bytes | None) -> None:
    for value in (None, KEY):
        with pytest.raises(InvalidRecordError, match="envelope: the key is no credential id"):
            decode(record(value, key))


@pytest.mark.parametrize("key", ["k1", "0", "ses_019a3c", "a/b+c==", "7f0c0e3e-5d6c-4a4e-9d5b-0a8f4a1f3a55", "a" * 128])
def test_ids_are_what_control_planes_write(key: str) -> None:
    assert is_id(key)
    assert id_of(record(None, key.encode())) == key


@given(st.binary(max_size=200), st.none() | st.binary(max_size=200))
def test_any_bytes_are_a_credential_or_a_reason(key: bytes, value: bytes | None) -> None:
    try:
        found = decode(record(value, key))
    except InvalidRecordError:
        return
    assert is_id(found.id)


@given(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["api_key", "session"]), "account": st.just("acct_1")},
        optional={
            name: st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=20))
            for name in ("secret_sha256", "scopes", "cidrs", "expires_at", "tier", "audit", "client_cert_sha256")
        },
    )
)
def test_a_key_is_granted_only_with_a_whole_digest(value: dict[str, object]) -> None:
    try:
        found = decode(record(value))
    except InvalidRecordError:
        return
    assert (found.kind == "api_key") == (found.secret_sha256 is not None)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("192.0.2.7/24", "192.0.2.200", "192.0.3.1"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("2001:db8::/32", "2001:db8::1", "2001:db9::1"),
        ("::/0", "2001:db8::1", "192.0.2.1"),
    ],
)
def test_networks_hold_the_addresses_people_mean(text: str, inside: str, outside: str) -> None:
    assert ip_address(inside) in network(text)
    assert ip_address(outside) not in network(text)


def test_a_secret_stands_in_no_log() -> None:
    assert repr(DIGEST) not in repr(decode(record(KEY)))
    assert "secret" not in repr(decode(record(KEY)))
