"""An endpoint made ready: what it wants, and what it never tells."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumers.catalogue import CATALOGUE
from publisher.endpoints import Endpoint, selectors
from tests.support.jobs import KEY, a_job, an_endpoint


@pytest.mark.parametrize("filters", [{"*"}, {"server.*"}, {"server.power.on", "topup.*"}, {"canary.updated"}])
def test_an_endpoint_wants_what_its_filters_select(filters: set[str]) -> None:
    endpoint = dataclasses.replace(an_endpoint(), filters=frozenset(filters))
    for event_type in CATALOGUE:
        assert endpoint.wants(event_type) is bool(selectors(event_type) & filters)


def test_no_rendering_of_an_endpoint_tells_its_keys() -> None:
    signer = Ed25519PrivateKey.from_private_bytes(KEY)
    endpoint: Endpoint = dataclasses.replace(an_endpoint(), signers=(signer,))
    for text in (repr(endpoint), str(endpoint), f"{endpoint}", repr(a_job(endpoint=endpoint)), repr([endpoint])):
        assert "we_1" in text
        assert repr(KEY) not in text
        assert repr(KEY)[2:-1] not in text
        assert "Ed25519" not in text
        assert "keys" not in text


def test_endpoints_are_the_same_by_what_they_are_and_not_by_how_their_keys_were_opened() -> None:
    first, second = (Ed25519PrivateKey.from_private_bytes(KEY) for _ in range(2))
    assert dataclasses.replace(an_endpoint(), signers=(first,)) == dataclasses.replace(an_endpoint(), signers=(second,))
    assert an_endpoint(keys=(KEY,)) != an_endpoint(keys=(bytes(32),))
