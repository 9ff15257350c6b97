"""What is the same request: the key a header carries, and the fingerprint of what came with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from publisher.api.errors import ApiError
from publisher.api.idempotency import Once, key_of
from publisher.profiles.model import Fault, Headers

if TYPE_CHECKING:
    from publisher.api.call import Call

NAMES = Headers(webhook_prefix="x-nb-")
CALL = cast("Call", SimpleNamespace(account="acct_1"))


def carried(*headers: tuple[str, str], names: Headers = NAMES) -> str | None:
    return key_of(CIMultiDictProxy(CIMultiDict(headers)), names)


def fingerprint(content: object, method: str = "POST", path: str = "/v1/webhooks") -> bytes:
    return Once.of(CALL, "k", method, path, content).fingerprint


def test_a_request_need_not_carry_a_key() -> None:
    assert carried(("Content-Type", "application/json")) is None


@pytest.mark.parametrize("key", ["k", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~", "a,b;c=d"])
def test_a_key_is_visible_ascii(key: str) -> None:
    assert carried(("idempotency-key", key)) == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\tb", "é", "\x7f", "k\n", "k\x00", "\udcff"])
def test_anything_else_is_no_key(key: str) -> None:
    with pytest.raises(ApiError) as caught:
        carried(("Idempotency-Key", key))
    assert (caught.value.fault, caught.value.code) == (Fault.MALFORMED, "invalid_idempotency_key")
    assert caught.value.message == "Idempotency-Key must be one header of 1 to 255 visible ASCII characters."


def test_two_keys_are_none() -> None:
    with pytest.raises(ApiError, match="must be one header"):
        carried(("Idempotency-Key", "a"), ("idempotency-key", "a"))


def test_the_header_is_called_what_the_provider_calls_it() -> None:
    names = Headers(webhook_prefix="x-nb-", idempotency_key="X-Once")
    assert carried(("x-once", "k"), ("Idempotency-Key", "other"), names=names) == "k"


def test_the_order_of_members_does_not_matter_and_everything_else_does() -> None:
    same = {fingerprint({"a": 1, "b": {"c": [1], "d": None}}), fingerprint({"b": {"d": None, "c": [1]}, "a": 1})}
    assert len(same) == 1
    others = {
        fingerprint(content)
        for content in (None, {}, {"a": 1}, {"a": "1"}, {"a": None}, {"a": [1, 2]}, {"a": [2, 1]}, {"b": 1})
    }
    assert len(others) == 8
    assert len({fingerprint({}), fingerprint({}, "PUT"), fingerprint({}, path="/v1/webhooks/we_1/secret")}) == 3


def test_a_path_cannot_be_mistaken_for_a_body() -> None:
    assert fingerprint({}, path="/a\n{}") != fingerprint({}, path="/a")
    assert fingerprint(None, path="/a\n{}") != fingerprint({}, path="/a\nnull")
    assert fingerprint({}, path="/a\udcff") != fingerprint({}, path="/a")


def test_whose_it_is_comes_from_the_credential_and_the_key_is_not_kept_as_it_came() -> None:
    once = Once.of(CALL, "my-key", "POST", "/", {})
    assert once.account == once.owner.account == "acct_1"
    assert len(once.owner.key_hash) == 32
    assert b"my-key" not in once.owner.key_hash
    assert once.owner != Once.of(CALL, "my-kez", "POST", "/", {}).owner


CONTENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=8,
)


@given(CONTENTS, CONTENTS)
def test_two_bodies_have_one_fingerprint_only_if_they_are_one(first: Any, second: Any) -> None:
    assert (fingerprint(first) == fingerprint(second)) == (repr(_sorted(first)) == repr(_sorted(second)))


def _sorted(content: Any) -> Any:
    if isinstance(content, dict):
        return [(name, _sorted(content[name])) for name in sorted(content)]
    return tuple(map(_sorted, content)) if isinstance(content, list) else content
