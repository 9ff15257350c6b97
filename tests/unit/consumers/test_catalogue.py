"""The catalogue against the public contract, letter for letter: what customers may subscribe and what they get."""

from __future__ import annotations

import json

import pytest

from consumers.catalogue import ALSO_ACCEPTED, CATALOGUE, DOCUMENTED, prefixes, schema

SERVER = {"order_number", "service_code", "bastion"}
#: The contract's table: the types in its order, the keys `data` must have.
CONTRACT: dict[str, set[str]] = {
    "account.balance.low": {"balance_usd", "threshold_usd"},
    "topup.created": {"order_number", "coin", "amount_usd", "address", "expires_at"},
    "topup.confirmed": {"order_number", "coin", "amount_usd", "txid", "confirmations", "balance_usd"},
    "topup.failed": {"order_number", "coin", "amount_usd", "reason"},
    "invoice.issued": {"invoice_id", "period", "amount_usd", "pdf_url", "signed_pdf_url"},
    "server.provisioning": SERVER | {"image"},
    "server.provisioned": SERVER | {"image", "ip_addresses"},
    "server.power.on": SERVER | {"initiated_by"},
    "server.power.off": SERVER | {"initiated_by"},
    "server.reinstalled": SERVER | {"image"},
    "server.resized": SERVER | {"from_code", "to_code"},
    "server.migrated": SERVER | {"from_bastion", "to_bastion"},
    "server.deleted": SERVER | {"credit_usd"},
    "snapshot.created": {"snapshot_id", "order_number"},
    "snapshot.restored": {"snapshot_id", "order_number"},
    "snapshot.deleted": {"snapshot_id", "order_number"},
    "volume.attached": {"volume_id", "order_number"},
    "volume.detached": {"volume_id", "order_number"},
    "firewall.changed": {"ruleset_id", "order_numbers"},
    "canary.updated": {"sequence", "issued_at", "next_due", "expires_at", "sha256", "url", "signature_url"},
    "incident.opened": {"incident_id", "title", "impact", "components", "body", "started_at"},
    "incident.resolved": {"incident_id", "body", "resolved_at"},
    "peering.changed": {"asn", "changes"},
}
ACCEPTED_TOO = {"incident.updated", "maintenance.scheduled", "maintenance.started", "maintenance.completed"}


def test_the_23_types_of_the_contract_are_documented_and_four_more_accepted() -> None:
    assert [model.TYPE for model in DOCUMENTED] == list(CONTRACT)
    assert len(CONTRACT) == 23
    assert {model.TYPE for model in ALSO_ACCEPTED} == ACCEPTED_TOO
    assert set(CATALOGUE) == set(CONTRACT) | ACCEPTED_TOO


@pytest.mark.parametrize("event_type", CONTRACT)
def test_required_keys_are_the_contracts(event_type: str) -> None:
    assert set(schema(event_type)["required"]) == CONTRACT[event_type]
    assert set(CATALOGUE[event_type].EXAMPLE) == CONTRACT[event_type]


def test_what_has_no_account_is_public() -> None:
    public = {name for name, model in CATALOGUE.items() if model.IS_PUBLIC}
    assert public == {
        "canary.updated",
        "incident.opened",
        "incident.updated",
        "incident.resolved",
        "maintenance.scheduled",
        "maintenance.started",
        "maintenance.completed",
        "peering.changed",
    }


@pytest.mark.parametrize("event_type", CATALOGUE)
def test_a_schema_says_what_the_type_means_and_shows_it(event_type: str) -> None:
    model = CATALOGUE[event_type]
    found = schema(event_type)
    assert (found["title"], found["description"], found["examples"]) == (event_type, model.MEANING, [model.EXAMPLE])
    assert found["type"] == "object"
    assert found.get("additionalProperties", True) is True
    assert model.MEANING.endswith(".")
    assert (
        model.model_validate_json(json.dumps(model.EXAMPLE)).model_dump(mode="json", exclude_unset=True)
        == model.EXAMPLE
    )


def test_an_unknown_type_has_no_schema() -> None:
    with pytest.raises(KeyError):
        schema("server.exploded")


def test_a_peering_change_is_of_a_prefix_or_a_session() -> None:
    change = schema("peering.changed")["$defs"]["PeeringChange"]
    assert change["required"] == ["op"]
    assert change["anyOf"] == [{"required": ["prefix"]}, {"required": ["session"]}]


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("topup.created", ("*", "topup.*", "topup.created")),
        ("server.power.on", ("*", "server.*", "server.power.*", "server.power.on")),
        ("single", ("*", "single")),
    ],
)
def test_prefixes(event_type: str, expected: tuple[str, ...]) -> None:
    assert prefixes(event_type) == expected
