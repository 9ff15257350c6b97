"""What is published of a network's record: PeeringDB's words, its types, nobody's secrets, and every field there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import peering_record
from feeds.peering_record import GREATEST, NET, SETS, allowed, complete
from signer.canonical import canonical
from tests.support.peeringdb import Net

ASN = 213232
SECRET = "hunter2"  # noqa: S105 - of tests
RECORD: dict[str, Any] = {
    "id": 7,
    "name": "NordBastion",
    "asn": ASN,
    "website": "https://nordbastion.com/",
    "info_types": ["Content"],
    "info_prefixes4": 20,
    "info_ipv6": True,
    "policy_general": "Selective",
    "notes": "First line\nsecond line",
    "status": "ok",
    "netixlan_set": [
        {
            "name": "Netnod Stockholm GREEN",
            "ix_id": 70,
            "speed": 100_000,
            "ipaddr4": "194.68.123.7",
            "is_rs_peer": True,
        },
        {"name": "Netnod Stockholm BLUE", "ix_id": 70, "speed": 100_000, "ipaddr6": "2001:7f8:d:fe::7"},
    ],
    "netfac_set": [{"name": "Bahnhof Pionen", "city": "Stockholm", "country": "SE"}],
    "poc_set": [{"role": "NOC", "visible": "Public", "email": "noc@nordbastion.com"}],
}
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda part: st.lists(part, max_size=3)
)


def test_a_record_in_peeringdb_s_words_is_kept_as_it_is() -> None:
    assert allowed(RECORD) == RECORD


@pytest.mark.parametrize(
    "given_too",
    [
        {"bgp_password": SECRET},
        {"md5": SECRET, "sessions": [{"peer": 1, "password": SECRET}]},
        {"netixlan_set": [{"name": "IX", "md5_key": SECRET, "auth": {"tcp_ao": SECRET}}]},
        {"netfac_set": [{"name": "hall", "door_code": SECRET}]},
        {"poc_set": [{"role": "NOC", "visible": "Public", "pgp_private_key": SECRET}]},
        {"poc_set": [{"role": "NOC", "visible": "Users", "phone": SECRET}]},
        {"poc_set": [{"role": "NOC", "visible": "Private", "phone": SECRET}]},
        {"poc_set": [{"role": "NOC", "phone": SECRET}]},
        {"name": {"secret": SECRET}},
        {"info_types": [{"secret": SECRET}]},
    ],
)
def test_no_secret_and_no_private_contact_is_kept(given_too: dict[str, Any]) -> None:
    assert SECRET not in json.dumps(allowed({**RECORD, **given_too}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "7"),
        ("id", True),
        ("id", -1),
        ("id", GREATEST + 1),
        ("id", 1.0),
        ("name", 5),
        ("name", "a\x00b"),
        ("website", "javascript:alert(1)"),
        ("website", "https://a b"),
        ("info_types", "Content"),
        ("info_types", ["Content", 1]),
        ("info_ipv6", 1),
        ("policy_general", "Whatever"),
        ("policy_general", ["Open"]),
    ],
)
def test_a_value_of_another_type_is_left_out(field: str, value: object) -> None:
    assert field not in allowed({field: value})


@pytest.mark.parametrize("address", ["300.1.1.1", "fe80::1%eth0", 5, "", "name.example"])
def test_an_address_that_is_none_is_left_out(address: object) -> None:
    assert allowed({"netixlan_set": [{"ipaddr4": address}, 5]}) == {"netixlan_set": [{}]}


def test_a_record_is_complete_whatever_is_known() -> None:
    for record in ({}, RECORD):
        made = complete(allowed(record), asn=ASN, name="NordBastion")
        assert made.keys() == {*NET, *SETS}
        Net.model_validate(made, strict=True)
    assert (made["ix_count"], made["fac_count"]) == (1, 1)


def test_what_is_said_is_not_replaced_and_the_as_is_the_one_that_says_it() -> None:
    made = complete({"asn": 1, "name": "Own", "ix_count": 9, "netixlan_set": []}, asn=ASN, name="Provider")
    assert (made["asn"], made["name"], made["ix_count"], made["fac_count"]) == (ASN, "Own", 9, None)
    assert complete({}, asn=ASN, name="Provider")["name"] == "Provider"


def test_an_empty_list_is_not_one_for_all() -> None:
    complete({}, asn=ASN, name="x")["info_types"].append("Content")
    assert complete({}, asn=ASN, name="x")["info_types"] == []


@settings(max_examples=25)  # dear to draw
@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(NET, ANY),
            **{
                each: st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(fields, ANY)), max_size=2)
                for each, fields in SETS.items()
            },
        },
    )
)
def test_whatever_is_given_can_be_signed_and_read_by_clients_of_peeringdb(record: dict[str, Any]) -> None:
    made = complete(allowed(record), asn=ASN, name="NordBastion")
    Net.model_validate_json(canonical(made), strict=True)
    assert allowed(allowed(record)) == allowed(record)


def test_every_field_of_the_reference_is_there() -> None:
    assert len(NET) == 33
    assert {"looking_glass", "route_server", "irr_as_set", "info_never_via_route_servers"} <= NET.keys()
    assert peering_record.SETS.keys() == {"netixlan_set", "netfac_set", "poc_set"}
