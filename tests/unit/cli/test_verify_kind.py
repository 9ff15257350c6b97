"""What `heliograph verify` takes for a canary, for a page or text with one in it, and for a document."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.models import IncidentsDocument, PeeringDocument, StatusDocument
from publisher.cli.verify_kind import is_canary, is_document, shows_canary
from signer.verification import DOCUMENT_TYPES
from tests.support.canaries import first, retirement

CANARY = first().content
TYPE = b'"type":"warrant-canary/1"'
RENAMED = CANARY.replace(TYPE, b'"type":"other/1"')
PAGE = orjson.dumps({"state": "current", "signed": {"document": CANARY.decode()}})


@pytest.mark.parametrize(
    "content",
    [
        CANARY,
        retirement().content,
        b"\xef\xbb\xbf" + CANARY,
        CANARY.decode().encode("utf-16"),
        b" \n" + CANARY + b"\n",
        CANARY.replace(TYPE, b'"type":"Warrant-canary/1"'),
        CANARY.replace(TYPE, b'"Type":" WARRANT-CANARY/7"'),
        CANARY.replace(TYPE, b'"type":"warrant\\u002dcanary\\/1"'),
        CANARY.replace(TYPE, TYPE + b',"type":"peering/1"'),
        CANARY.replace(TYPE, b'"type":"peering/1",' + TYPE),
        RENAMED,
        CANARY.replace(b'"sequence":1', b'"sequence":' + b"1" * 5_000),
        b'{"type":"warrant-canary/1"}',
        b'{"type":"warrant-canary"}',
    ],
)
def test_what_a_reader_could_take_for_a_canary_is_none_of_the_other_kinds(content: bytes) -> None:
    assert is_canary(content)
    assert shows_canary(content)


@pytest.mark.parametrize(
    "content",
    [
        PAGE,
        orjson.dumps([PAGE.decode()]),
        b"[" + CANARY + b"]",
        b"Our canary:\n" + CANARY,
        CANARY + b"and more",
        PAGE.replace(b"warrant-canary", b"Warrant\\\\u002dCanary"),
        PAGE.decode().encode("utf-16-le"),
    ],
)
def test_a_canary_within_something_else_shows(content: bytes) -> None:
    assert shows_canary(content)
    assert not is_canary(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"type":7}',
        b'{"type":"peering/1","statements":[],"sequence":4}',
        b'{"data":[{"sequence":1,"sha256":"00"}],"meta":{}}',
        b'{"see":"https://nordbastion.example/warrant-canary/"}',
        b"the warrant-canary",
    ],
)
def test_what_is_no_canary_and_shows_none(content: bytes) -> None:
    assert not is_canary(content)
    assert not shows_canary(content)


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_canary_shows_whatever_stands_around_it(before: str, after: str) -> None:
    around = before.encode() + CANARY + after.encode()
    assert shows_canary(around)
    assert shows_canary(orjson.dumps(around.decode()))


@given(content=st.binary(max_size=100))
def test_whatever_it_is_it_is_one_kind_at_most(content: bytes) -> None:
    assert not (is_canary(content) and is_document(content))
    assert shows_canary(content) or not is_canary(content)


@pytest.mark.parametrize("each", sorted(DOCUMENT_TYPES))
def test_documents_are_what_is_published(each: str) -> None:
    assert is_document(orjson.dumps({"type": each, "a": {"type": "x"}}))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b'"peering/1"', b'["peering/1"]', b'[["type","peering/1"]]', b'{"type":["peering/1"]}',
        b'{"type":"peering/2"}', b'{"type":"Peering/1"}', b'{"type":"release"}', b'{"Type":"peering/1"}',
        b'{"data":{"type":"peering/1"}}', b'{"type":"x","type":"peering/1"}',
        b'{"type":"peering/1","type":"peering/1"}', b'\xef\xbb\xbf{"type":"peering/1"}', b'{"type":"peering/1"} x',
    ],
)  # fmt: skip
def test_anything_else_is_no_document(content: bytes) -> None:
    assert not is_document(content)


def test_each_feed_has_its_type_among_them() -> None:
    models: tuple[Any, ...] = (PeeringDocument, IncidentsDocument, StatusDocument)
    types = {get_args(model.model_fields["type"].annotation)[0] for model in models}
    assert types == DOCUMENT_TYPES
