"""The documents in Statuspage's words: every field of it, its words alone, and nothing that misleads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.incidents import build, fold
from feeds.models import (
    Component,
    ComponentStatus,
    Group,
    Impact,
    IncidentsDocument,
    IncidentStatus,
    MaintenanceStatus,
    StatusDocument,
)
from feeds.pages import Site
from feeds.statuspage import ANSWERS, LISTED, Statuspage, consequence, identifier
from tests.support import feed_documents
from tests.support.incident_courses import any_events, course, minute, opened, resolved, rows, scheduled, updated
from tests.support.statuspage_answers import SHAPES

if TYPE_CHECKING:
    from consumers.events import Event

SITE = Site("NordBastion", "https://nordbastion.example/", "https://status.nordbastion.example", "/v1")
NOW = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
QUIET = feed_documents.quiet_status()
HEL = identifier("component", "HEL/network")


def answers(
    incidents: IncidentsDocument | None = None, status: StatusDocument | None = None
) -> dict[str, dict[str, Any]]:
    """Return every answer as a client reads it, held against its shape."""
    page = Statuspage(incidents or feed_documents.incidents(), status or feed_documents.status(), SITE)
    made = {}
    for path, make in ANSWERS.items():
        content = orjson.dumps(make(page))
        SHAPES[path].model_validate_json(content)
        made[path] = orjson.loads(content)
    return made


def said(*events: Event) -> dict[str, dict[str, Any]]:
    """Return every answer after these events."""
    return answers(build(*fold(rows(*events)), provider="NordBastion", now=NOW))


def test_there_is_an_answer_for_every_path() -> None:
    assert set(ANSWERS) == set(SHAPES)


def test_the_page_is_the_same_in_every_answer() -> None:
    pages = [each["page"] for each in answers().values()]
    assert all(each == pages[0] for each in pages)
    assert pages[0] == {
        "id": identifier("page", "NordBastion"),
        "name": "NordBastion",
        "url": "https://status.nordbastion.example/status/",
        "time_zone": "Etc/UTC",
        "updated_at": "2026-11-20T01:13:00.000Z",
    }


def test_the_page_is_as_new_as_the_newer_document() -> None:
    old, new = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    for one, other in ((old, new), (new, old)):
        made = answers(
            feed_documents.incidents().model_copy(update={"as_of": one}),
            feed_documents.status().model_copy(update={"as_of": other}),
        )
        assert made["status.json"]["page"]["updated_at"] == "2026-11-02T00:00:00.000Z"


@pytest.mark.parametrize(
    ("indicator", "word"),
    [("none", "none"), ("minor", "minor"), ("major", "major"), ("critical", "critical"), ("maintenance", "none")],
)
def test_the_overall_status_is_the_document_s_in_a_word_that_clients_know(indicator: str, word: str) -> None:
    document = feed_documents.status()
    made = answers(status=document.model_copy(update={"indicator": Impact(indicator)}))
    for path in ("status.json", "summary.json"):
        assert made[path]["status"] == {"indicator": word, "description": document.description}


def test_components_stand_behind_their_group_and_the_shared_ones_at_the_end() -> None:
    listed = answers()["components.json"]["components"]
    shown = [(each["group"], each["name"], each["position"]) for each in listed]
    assert shown[:5] == [
        (True, "Stockholm", 1),
        (False, "Compute (Stockholm)", 1),
        (False, "Network (Stockholm)", 2),
        (False, "Storage (Stockholm)", 3),
        (True, "Helsinki", 2),
    ]
    assert shown[-2:] == [(False, "Billing and top-ups", 7), (False, "DNS", 8)]
    assert len({each["id"] for each in listed}) == len({each["name"] for each in listed}) == len(listed) == 20


def test_a_group_and_its_components_name_each_other() -> None:
    listed = answers()["components.json"]["components"]
    groups = {each["id"]: each["components"] for each in listed if each["group"]}
    assert {name: [each["id"] for each in listed if each["group_id"] == name] for name in groups} == groups
    assert all(len(each) == 3 for each in groups.values())
    assert all("components" not in each for each in listed if not each["group"])


def test_a_component_is_as_it_is_and_says_what_we_call_it() -> None:
    listed = {each["description"]: each for each in answers()["components.json"]["components"]}
    assert listed["HEL/network"] == {
        "id": HEL,
        "name": "Network (Helsinki)",
        "status": "degraded_performance",
        "created_at": "2026-08-23T00:00:00.000Z",
        "updated_at": "2026-11-20T01:00:00.000Z",
        "position": 2,
        "description": "HEL/network",
        "showcase": True,
        "start_date": "2026-08-23",
        "group_id": identifier("group", "HEL"),
        "page_id": identifier("page", "NordBastion"),
        "group": False,
        "only_show_if_degraded": False,
    }
    assert listed["REK/compute"]["start_date"] == "2026-09-12"
    assert listed["HEL"]["status"] == "degraded_performance"
    assert listed["HEL"]["created_at"] == "2026-08-23T00:00:00.000Z"
    assert listed["OSL/network"]["status"] == "under_maintenance"


def test_a_component_of_no_known_bastion_and_one_without_days_are_shown_all_the_same() -> None:
    status = QUIET
    bare = Component(
        id="XXX/gpu",
        name="GPU",
        group="XXX",
        status=ComponentStatus.OPERATIONAL,
        is_reporting=False,
        uptime=None,
        days=[],
    )
    empty = Group(id="NEW", name="New place", status=ComponentStatus.OPERATIONAL)
    listed = answers(
        status=status.model_copy(update={"components": [*status.components, bare], "groups": [*status.groups, empty]})
    )["components.json"]["components"]
    by_own_id = {each["description"]: each for each in listed}
    assert by_own_id["XXX/gpu"]["group_id"] is None
    assert by_own_id["XXX/gpu"]["start_date"] is None
    assert by_own_id["XXX/gpu"]["created_at"] == "2026-11-20T01:00:00.000Z"
    assert (listed[-1]["description"], listed[-1]["position"]) == ("XXX/gpu", 10)
    assert by_own_id["NEW"]["components"] == []


def test_ids_are_stable_and_of_what_they_are_of() -> None:
    assert identifier("component", "STO/compute") == "sps62wpjdg2r"
    assert len({identifier(kind, "x") for kind in ("page", "group", "component", "incident", "maintenance")}) == 5
    made = said(opened(0, incident_id="x"), scheduled(-9, 0, 9, maintenance_id="x"))["summary.json"]
    assert made["incidents"][0]["id"] != made["scheduled_maintenances"][0]["id"]


def test_an_incident_is_told_in_full() -> None:
    [made] = said(*course("opened@0 monitoring@28 resolved@163"))["incidents.json"]["incidents"]
    at = {number: f"{minute(number):%Y-%m-%dT%H:%M:%S}.000Z" for number in (0, 28, 163)}
    network = next(each for each in answers()["components.json"]["components"] if each["description"] == "HEL/network")
    own_id = identifier("incident", "inc_2026_1107")
    assert made.pop("incident_updates")[1] == {
        "id": build(*fold(rows(*course("monitoring@28"))), provider="p", now=NOW).incidents[0].updates[0].id,
        "status": "monitoring",
        "body": "monitoring at 28.0",
        "incident_id": own_id,
        "created_at": at[28],
        "updated_at": at[28],
        "display_at": at[28],
        "affected_components": [
            {
                "code": HEL,
                "name": "Network (Helsinki)",
                "old_status": "degraded_performance",
                "new_status": "degraded_performance",
            }
        ],
        "deliver_notifications": True,
        "custom_tweet": None,
        "tweet_id": None,
    }
    assert made == {
        "id": own_id,
        "name": "Packet loss towards Helsinki",
        "status": "resolved",
        "created_at": at[0],
        "updated_at": at[163],
        "monitoring_at": at[28],
        "resolved_at": at[163],
        "impact": "minor",
        "shortlink": "https://status.nordbastion.example/status/incidents/inc_2026_1107",
        "started_at": at[0],
        "page_id": identifier("page", "NordBastion"),
        "components": [network],
    }


def test_a_maintenance_is_told_in_full() -> None:
    page = Statuspage(feed_documents.incidents(), feed_documents.status(), SITE)
    listed = page.maintenances()["scheduled_maintenances"]
    assert [each["name"] for each in listed] == [
        "Storage firmware in Reykjavik", "Core router upgrade in Oslo", "Router replacement in Oslo",
    ]  # fmt: skip
    made = listed[1]
    assert {name: made[name] for name in ("status", "impact", "monitoring_at", "resolved_at", "started_at")} == {
        "status": "in_progress",
        "impact": "maintenance",
        "monitoring_at": None,
        "resolved_at": None,
        "started_at": "2026-11-20T01:02:00.000Z",
    }
    assert (made["scheduled_for"], made["scheduled_until"]) == ("2026-11-20T01:00:00.000Z", "2026-11-20T03:00:00.000Z")
    assert [each["affected_components"][0]["new_status"] for each in made["incident_updates"]] == [
        "under_maintenance", "operational",
    ]  # fmt: skip
    assert [each["description"] for each in made["components"]] == ["OSL/network"]
    assert listed[0]["started_at"] == listed[0]["scheduled_for"]
    assert listed[2]["resolved_at"] == "2026-10-21T02:10:00.000Z"
    assert listed[2]["shortlink"].endswith("/mnt_2026_0029")


def test_each_list_has_its_own() -> None:
    made = answers()

    def names(path: str, field: str) -> list[str]:
        return [each["shortlink"].rpartition("/")[2] for each in made[path][field]]

    assert names("incidents.json", "incidents") == ["inc_2026_1120", "inc_2026_1107", "inc_2026_1031", "inc_2026_0919"]
    assert names("incidents/unresolved.json", "incidents") == ["inc_2026_1120"]
    assert names("summary.json", "incidents") == ["inc_2026_1120"]
    plans = "scheduled_maintenances"
    assert names("scheduled-maintenances.json", plans) == ["mnt_2026_0032", "mnt_2026_0031", "mnt_2026_0029"]
    assert names("scheduled-maintenances/upcoming.json", plans) == ["mnt_2026_0032"]
    assert names("scheduled-maintenances/active.json", plans) == ["mnt_2026_0031"]
    assert names("summary.json", plans) == ["mnt_2026_0032", "mnt_2026_0031"]


def test_what_is_verified_is_under_way() -> None:
    verifying = feed_documents.RUNNING.model_copy(update={"status": MaintenanceStatus.VERIFYING})
    made = answers(feed_documents.incidents().model_copy(update={"maintenances": [verifying]}))
    for path in ("scheduled-maintenances/active.json", "summary.json"):
        assert [each["status"] for each in made[path]["scheduled_maintenances"]] == ["verifying"]


def test_lists_have_the_newest_fifty_and_every_open_one() -> None:
    document = feed_documents.many_incidents(LISTED + 20)
    plans = [feed_documents.PLANNED.model_copy(update={"id": f"mnt_{number}"}) for number in range(LISTED + 1)]
    long_open = [
        each.model_copy(update={"resolved_at": None, "status": IncidentStatus.IDENTIFIED})
        for each in document.incidents
    ]
    made = answers(document.model_copy(update={"incidents": long_open, "maintenances": plans}))
    listed = made["incidents.json"]["incidents"]
    assert [each["name"] for each in listed] == [f"Incident number {number}" for number in range(LISTED)]
    assert len(made["scheduled-maintenances.json"]["scheduled_maintenances"]) == LISTED
    assert len(made["incidents/unresolved.json"]["incidents"]) == LISTED + 20
    assert len(made["summary.json"]["scheduled_maintenances"]) == LISTED + 1


def test_nothing_at_all_is_told_as_well() -> None:
    status = feed_documents.quiet_status().model_copy(update={"groups": [], "components": []})
    made = answers(feed_documents.no_incidents(), status)
    assert made["summary.json"]["components"] == made["summary.json"]["incidents"] == []
    assert made["scheduled-maintenances.json"]["scheduled_maintenances"] == []


@pytest.mark.parametrize(
    ("named", "shown", "affected"),
    [
        (["HEL/network"], ["HEL/network"], ["Network (Helsinki)"]),
        (["panel", "HEL/network", "panel"], ["panel", "HEL/network"], ["Control panel", "Network (Helsinki)"]),
        (
            ["HEL"],
            ["HEL/compute", "HEL/network", "HEL/storage"],
            ["Compute (Helsinki)", "Network (Helsinki)", "Storage (Helsinki)"],
        ),
        (["HEL/network", "HEL"], ["HEL/network", "HEL/compute", "HEL/storage"], None),
        (["HEL/tape"], [], ["HEL/tape"]),
        ([], [], None),
    ],
)
def test_an_incident_names_its_components(named: list[str], shown: list[str], affected: list[str] | None) -> None:
    [made] = said(opened(0, components=named))["incidents.json"]["incidents"]
    assert [each["description"] for each in made["components"]] == shown
    told = made["incident_updates"][0]["affected_components"]
    if affected is not None:
        assert [each["name"] for each in told] == affected
    if not named:
        assert told is None


@pytest.mark.parametrize(
    ("impact", "does"),
    [
        ("none", "operational"),
        ("minor", "degraded_performance"),
        ("major", "partial_outage"),
        ("critical", "major_outage"),
        ("maintenance", "operational"),
    ],
)
def test_updates_say_what_came_of_them(impact: str, does: str) -> None:
    [made] = said(opened(0, impact=impact), updated("monitoring", 5), resolved(9), updated("postmortem", 99))[
        "incidents.json"
    ]["incidents"]
    told = [
        (each["status"], each["affected_components"][0]["old_status"], each["affected_components"][0]["new_status"])
        for each in reversed(made["incident_updates"])
    ]
    assert told == [
        ("investigating", "operational", does),
        ("monitoring", does, does),
        ("resolved", does, "operational"),
        ("postmortem", "operational", "operational"),
    ]


def test_what_comes_of_a_maintenance_is_felt_while_it_is_under_way() -> None:
    felt = {status for status in MaintenanceStatus if consequence(status, Impact.MAINTENANCE) != "operational"}
    assert felt == {MaintenanceStatus.IN_PROGRESS, MaintenanceStatus.VERIFYING}


def test_an_incident_whose_opening_is_late_has_a_name() -> None:
    [made] = said(resolved(9))["incidents.json"]["incidents"]
    assert "inc_2026_1107" in made["name"]


@pytest.mark.parametrize("own_id", ["a/b", "a b?c#d", "ä", "..", "%2F"])
def test_a_link_leads_to_one_page_whatever_the_id(own_id: str) -> None:
    [made] = said(opened(0, incident_id=own_id))["incidents.json"]["incidents"]
    tail = made["shortlink"].removeprefix("https://status.nordbastion.example/status/incidents/")
    assert not set(tail) & set("/ ?#")
    assert tail not in {".", ".."}


@settings(max_examples=40)
@given(any_events(), st.sampled_from(list(Impact)), st.sampled_from(list(ComponentStatus)))
def test_whatever_happens_a_strict_client_reads_every_answer(
    events: list[Event], indicator: Impact, status: ComponentStatus
) -> None:
    components = [each.model_copy(update={"status": status, "days": each.days[-2:]}) for each in QUIET.components]
    answers(
        build(*fold(rows(*events)), provider="NordBastion", now=NOW),
        QUIET.model_copy(update={"indicator": indicator, "components": components}),
    )


def test_moments_are_in_utc_wherever_they_were_written() -> None:
    elsewhere = datetime.fromisoformat("2026-11-20T04:00:00+02:00")
    made = answers(feed_documents.incidents().model_copy(update={"as_of": elsewhere}))
    assert made["status.json"]["page"]["updated_at"] == "2026-11-20T02:00:00.000Z"
