"""The status document: what reports, incidents and maintenance make of each component, and of everything."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import telemetry
from feeds import component_days, status
from feeds.component_days import SLOTS, Facts, Reported
from feeds.component_facts import latest
from feeds.models import ComponentStatus, Impact, IncidentStatus, MaintenanceStatus, StatusDocument
from feeds.status import Declared, DeclaredGroup, DeclaredService
from signer.canonical import canonical
from tests.support import feed_documents
from tests.support.fake_broker import FIRST_TIMESTAMP, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feeds.models import Component, Incident, Maintenance

NOW = datetime(2026, 11, 20, 7, 30, tzinfo=UTC)
HOUR = NOW.replace(minute=0)
UP, MAINTAINED, SLOW, PARTIAL, MAJOR = component_days.STATUSES
DECLARED = Declared(
    [
        DeclaredGroup(
            "STO", "Stockholm", [DeclaredService("STO/compute", "Compute"), DeclaredService("STO/network", "Network")]
        ),
        DeclaredGroup("HEL", "Helsinki", [DeclaredService("HEL/compute", "Compute")]),
    ],
    [DeclaredService("panel", "Control panel")],
)
IDS = ["STO/compute", "STO/network", "HEL/compute", "panel"]
NOTHING = Facts({}, {})


def built(
    facts: Facts = NOTHING,
    incidents: Sequence[Incident] = (),
    maintenances: Sequence[Maintenance] = (),
    *,
    declared: Declared = DECLARED,
    now: datetime = NOW,
) -> StatusDocument:
    return status.build(facts, incidents, maintenances, declared, provider="NordBastion", now=now)


def reported(**statuses: ComponentStatus) -> Facts:
    """Return that components (`_` for a slash) reported a minute ago."""
    at = NOW - timedelta(minutes=1)
    return Facts({name.replace("_", "/"): Reported(each, at) for name, each in statuses.items()}, {})


def incident(
    impact: Impact,
    components: Sequence[str],
    state: IncidentStatus = IncidentStatus.INVESTIGATING,
    *,
    name: str = "inc_1",
    minutes: int = 80,
) -> Incident:
    began = NOW - timedelta(minutes=minutes)
    return feed_documents.incident(name, "Trouble", components, began, [(0, state, "Trouble.")], impact=impact)


def maintenance(components: Sequence[str], state: MaintenanceStatus, *, name: str = "mnt_1") -> Maintenance:
    said = [(NOW - timedelta(days=3), MaintenanceStatus.SCHEDULED, "Soon."), (NOW - timedelta(hours=2), state, "Now.")]
    return feed_documents.maintenance(name, "Work", components, NOW - timedelta(hours=2), 4, said)


def by_id(document: StatusDocument) -> dict[str, Component]:
    return {each.id: each for each in document.components}


def days_of(component: Component) -> dict[str, tuple[float | None, ComponentStatus | None]]:
    """Return the days something was reported on."""
    return {each.date: (each.uptime, each.worst) for each in component.days if each.worst is not None}


# --- components -------------------------------------------------------------------------------------------------------


def test_what_is_declared_is_there_before_anything_has_reported() -> None:
    document = built()
    assert [each.id for each in document.components] == IDS
    assert [(each.name, each.group) for each in document.components] == [
        ("Compute", "STO"),
        ("Network", "STO"),
        ("Compute", "HEL"),
        ("Control panel", None),
    ]
    assert {(each.status, each.is_reporting, each.uptime) for each in document.components} == {(UP, False, None)}
    assert [(each.id, each.name, each.status) for each in document.groups] == [
        ("STO", "Stockholm", UP),
        ("HEL", "Helsinki", UP),
    ]
    assert (document.indicator, document.description) == (Impact.NONE, "All Systems Operational")
    assert (document.incidents, document.maintenances, document.as_of) == ([], [], HOUR)


def test_what_reports_without_being_declared_comes_last_below_its_bastion() -> None:
    facts = reported(STO_dns=UP, REK_compute=SLOW, billing=UP, panel=UP, HEL_compute=UP)
    document = built(facts)
    assert {each.name for each in document.components[:4]} == {"Compute", "Network", "Control panel"}
    assert [(each.id, each.name, each.group) for each in document.components[4:]] == [
        ("REK/compute", "compute", "REK"),
        ("STO/dns", "dns", "STO"),
        ("billing", "billing", None),
    ]
    assert [(each.id, each.name, each.status) for each in document.groups] == [
        ("STO", "Stockholm", UP),
        ("HEL", "Helsinki", UP),
        ("REK", "REK", SLOW),
    ]


@pytest.mark.parametrize(
    ("ago", "is_reporting"), [(0, True), (15 * 60, True), (15 * 60 + 1, False), (40 * 86_400, False)]
)
def test_a_component_that_falls_silent_keeps_its_last_status(ago: float, is_reporting: bool) -> None:  # noqa: FBT001 - a table
    facts = Facts({"panel": Reported(PARTIAL, NOW - timedelta(seconds=ago))}, {})
    panel = by_id(built(facts))["panel"]
    assert (panel.status, panel.is_reporting) == (PARTIAL, is_reporting)


#: What was reported of STO/compute, impact and components of an open incident, components under maintenance -> status.
STATUSES = [
    (None, None, (), (), UP),
    (SLOW, None, (), (), SLOW),
    (UP, Impact.NONE, ["STO/compute"], (), UP),
    (UP, Impact.MAINTENANCE, ["STO/compute"], (), UP),
    (UP, Impact.MINOR, ["STO/compute"], (), SLOW),
    (UP, Impact.MAJOR, ["STO/compute"], (), PARTIAL),
    (UP, Impact.CRITICAL, ["STO/compute"], (), MAJOR),
    (None, Impact.MAJOR, ["STO/compute"], (), PARTIAL),
    (MAJOR, Impact.MINOR, ["STO/compute"], (), MAJOR),
    (MAINTAINED, Impact.MINOR, ["STO/compute"], (), SLOW),
    (UP, Impact.MAJOR, ["STO"], (), PARTIAL),
    (UP, Impact.MAJOR, ["HEL/compute", "HEL", "compute", "panel"], (), UP),
    (UP, Impact.MAJOR, [], (), UP),
    (UP, None, (), ["STO/compute"], MAINTAINED),
    (MAJOR, None, (), ["STO/compute"], MAINTAINED),
    (MAJOR, Impact.CRITICAL, ["STO/compute"], ["STO"], MAINTAINED),
    (UP, None, (), ["STO/network"], UP),
]


@pytest.mark.parametrize(("said", "impact", "named", "maintained", "expected"), STATUSES)
def test_the_worse_of_reports_and_incidents_holds_unless_there_is_maintenance(
    said: ComponentStatus | None,
    impact: Impact | None,
    named: Sequence[str],
    maintained: Sequence[str],
    expected: ComponentStatus,
) -> None:
    facts = reported(STO_compute=said) if said else NOTHING
    incidents = [incident(impact, named)] if impact else []
    planned = [maintenance(maintained, MaintenanceStatus.IN_PROGRESS)] if maintained else []
    document = built(facts, incidents, planned)
    assert by_id(document)["STO/compute"].status is expected
    assert document.groups[0].status is max(
        (each.status for each in document.components if each.group == "STO"), key=component_days.STATUSES.index
    )


def test_of_several_incidents_the_worst_counts() -> None:
    for impacts in ((Impact.CRITICAL, Impact.MINOR), (Impact.MINOR, Impact.CRITICAL)):
        incidents = [incident(impact, ["panel"], name=f"inc_{impact}") for impact in impacts]
        assert by_id(built(NOTHING, incidents))["panel"].status is MAJOR


@pytest.mark.parametrize("state", IncidentStatus)
def test_an_incident_counts_while_it_is_open(state: IncidentStatus) -> None:
    document = built(NOTHING, [incident(Impact.MAJOR, ["panel"], state)])
    is_open = state in {IncidentStatus.INVESTIGATING, IncidentStatus.IDENTIFIED, IncidentStatus.MONITORING}
    assert by_id(document)["panel"].status is (PARTIAL if is_open else UP)
    assert [each.id for each in document.incidents] == (["inc_1"] if is_open else [])
    assert document.indicator is (Impact.MAJOR if is_open else Impact.NONE)


@pytest.mark.parametrize(
    ("state", "expected", "is_mentioned"),
    [
        (MaintenanceStatus.SCHEDULED, UP, True),
        (MaintenanceStatus.IN_PROGRESS, MAINTAINED, True),
        (MaintenanceStatus.VERIFYING, MAINTAINED, True),
        (MaintenanceStatus.COMPLETED, UP, False),
    ],
)
def test_maintenance_counts_while_it_is_under_way(
    state: MaintenanceStatus,
    expected: ComponentStatus,
    is_mentioned: bool,  # noqa: FBT001 - a table
) -> None:
    document = built(NOTHING, (), [maintenance(["panel"], state)])
    assert by_id(document)["panel"].status is expected
    assert [(each.id, each.status, each.impact) for each in document.maintenances] == (
        [("mnt_1", state, Impact.MAINTENANCE)] if is_mentioned else []
    )


# --- everything -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worst", "indicator", "description"),
    [
        (UP, "none", "All Systems Operational"),
        (MAINTAINED, "none", "Service Under Maintenance"),
        (SLOW, "minor", "Partially Degraded Service"),
        (PARTIAL, "major", "Partial System Outage"),
        (MAJOR, "critical", "Major Service Outage"),
    ],
)
def test_the_indicator_is_the_worst_component_in_statuspages_words(
    worst: ComponentStatus, indicator: str, description: str
) -> None:
    document = built(reported(STO_compute=UP, panel=worst, HEL_compute=UP))
    assert (document.indicator, document.description) == (indicator, description)


def test_an_incident_that_names_no_component_still_shows() -> None:
    document = built(NOTHING, [incident(Impact.CRITICAL, [])])
    assert {each.status for each in document.components} == {UP}
    assert (document.indicator, document.description) == (Impact.CRITICAL, "Major Service Outage")


def test_maintenance_does_not_hide_an_open_incident_from_the_indicator() -> None:
    incidents = [incident(Impact.MAJOR, ["panel"])]
    document = built(NOTHING, incidents, [maintenance(["panel"], MaintenanceStatus.IN_PROGRESS)])
    assert by_id(document)["panel"].status is MAINTAINED
    assert document.indicator is Impact.MAJOR


def test_what_is_mentioned_does_not_depend_on_the_order_it_came_in() -> None:
    incidents = [
        incident(Impact.MINOR, ["panel"], name=name, minutes=minutes)
        for name, minutes in (("inc_b", 30), ("inc_c", 90), ("inc_a", 30))
    ]
    planned = [maintenance(["panel"], MaintenanceStatus.SCHEDULED, name=name) for name in ("mnt_b", "mnt_a")]
    document = built(NOTHING, incidents, planned)
    assert [each.id for each in document.incidents] == ["inc_b", "inc_a", "inc_c"]
    assert [each.id for each in document.maintenances] == ["mnt_a", "mnt_b"]
    assert built(NOTHING, incidents[::-1], planned[::-1]) == document


# --- days and moments -------------------------------------------------------------------------------------------------


def test_ninety_days_are_told_of_the_oldest_first_and_today_last() -> None:
    for today, first in ((date(2028, 3, 1), "2027-12-03"), (date(2027, 3, 1), "2026-12-02")):
        document = built(now=datetime.combine(today, datetime.max.time(), UTC))
        told = [each.date for each in document.components[0].days]
        assert (len(told), told[0], told[-1]) == (90, first, today.isoformat())
        assert told == sorted(set(told))
        assert status.since(datetime.combine(today, datetime.min.time(), UTC)).isoformat() == first


def test_all_days_come_to_one_figure_by_their_slots() -> None:
    days = {
        date(2026, 8, 22): bytes([5]) * SLOTS,  # the day before the first that is told of
        date(2026, 8, 23): bytes([1]) * SLOTS,
        date(2026, 11, 19): bytes([4]) + bytes(287),
        date(2026, 11, 21): bytes([5]) * SLOTS,  # by a clock that is ahead
    }
    panel = by_id(built(Facts({}, {"panel": days})))["panel"]
    assert days_of(panel) == {"2026-08-23": (100.0, UP), "2026-11-19": (0.0, PARTIAL)}
    assert panel.uptime == 99.65  # 288 of 289


@pytest.mark.parametrize(
    ("hour", "expected"),
    [(0, None), (1, (100.0, UP)), (2, (92.3, MAJOR)), (23, (92.3, MAJOR))],
)
def test_of_today_only_hours_that_are_over_count(hour: int, expected: tuple[float, ComponentStatus] | None) -> None:
    slots = bytes([1]) * 12 + bytes([5]) + bytes(SLOTS - 14) + bytes([5])
    panel = by_id(built(Facts({}, {"panel": {NOW.date(): slots}}), now=NOW.replace(hour=hour)))["panel"]
    assert days_of(panel) == ({"2026-11-20": expected} if expected else {})
    assert panel.uptime == (expected[0] if expected else None)


@given(st.integers(0, 3599), st.integers(0, 3599), st.binary(min_size=SLOTS, max_size=SLOTS))
def test_the_bytes_stay_for_the_hour(first: int, second: int, slots: bytes) -> None:
    days = {NOW.date(): bytes(code % 6 for code in slots), NOW.date() - timedelta(days=1): bytes(SLOTS)}
    facts = Facts({"panel": Reported(UP, HOUR - timedelta(days=1))}, {"panel": days})
    trouble = [incident(Impact.MINOR, ["panel"])]
    made = {
        canonical(built(facts, trouble, now=HOUR + timedelta(seconds=each)).model_dump(mode="json"))
        for each in (first, second)
    }
    assert len(made) == 1


def test_reports_within_the_hour_change_nothing_while_all_stays_as_it_is() -> None:
    def at(moment: datetime) -> Facts:
        slot = component_days.slot_of(moment)[1]
        return Facts(
            {"panel": Reported(UP, moment)}, {"panel": {NOW.date(): bytes([1]) * (slot + 1) + bytes(287 - slot)}}
        )

    assert built(at(HOUR), now=HOUR) == built(at(NOW), now=NOW)


@pytest.mark.parametrize(
    ("minutes", "expected"), [(80, HOUR), (30, HOUR), (10, NOW - timedelta(minutes=10)), (0, NOW), (-1, HOUR)]
)
def test_it_is_as_of_the_hour_or_of_the_latest_update(minutes: int, expected: datetime) -> None:
    said = [incident(Impact.NONE, [], IncidentStatus.RESOLVED, minutes=minutes)]
    assert built(NOTHING, said).as_of == expected


def test_it_is_as_of_the_latest_word_about_maintenance_too_to_the_second() -> None:
    late = NOW - timedelta(minutes=10)
    said = [
        (NOW - timedelta(days=3), MaintenanceStatus.SCHEDULED, "Soon."),
        (late, MaintenanceStatus.COMPLETED, "Done."),
    ]
    over = feed_documents.maintenance("mnt_1", "Work", [], NOW - timedelta(hours=2), 4, said)
    assert built(NOTHING, [incident(Impact.NONE, [], IncidentStatus.RESOLVED)], [over]).as_of == late
    within = HOUR + timedelta(minutes=5, seconds=7, microseconds=9)
    assert status.as_of([], within) == HOUR


def test_it_takes_any_zone_and_says_utc() -> None:
    elsewhere = datetime.fromisoformat("2026-11-20T13:00:00+05:30")
    assert built(now=elsewhere) == built(now=NOW)


REPORTS = st.lists(
    st.tuples(
        st.sampled_from(["STO/compute", "panel", "new"]),
        st.sampled_from(telemetry.STATUSES),
        st.sampled_from(
            [NOW - timedelta(seconds=each) for each in (0, 1, 600, 3600, 8 * 3600, 86_400 * 89, 86_400 * 90)]
        ),
    ),
    max_size=12,
)


@given(REPORTS, st.randoms(use_true_random=False), st.integers(0, 12))
def test_any_order_of_reports_ends_in_the_same_document(
    said: list[tuple[str, Any, datetime]], rng: Any, repeated: int
) -> None:
    shuffled = [*said, *said[:repeated]]
    rng.shuffle(shuffled)
    assert built(facts_of(shuffled)) == built(facts_of(said))


def facts_of(said: Sequence[tuple[str, Any, datetime]]) -> Facts:
    """Return what reports come to, without a database."""
    made = [
        telemetry.HealthReport(type="health.report", component=component, status=each, time=time)
        for component, each, time in said
    ]
    days: dict[str, dict[date, bytes]] = {}
    for (component, day), slots in component_days.of_reports(
        (component, ComponentStatus(each), time) for component, each, time in said
    ).items():
        days.setdefault(component, {})[day] = slots
    return Facts({name: Reported(ComponentStatus(each.status), each.time) for name, each in latest(made).items()}, days)


def test_the_documents_example_is_what_it_says() -> None:
    text = Path(__file__).parents[3].joinpath("docs", "uptime.md").read_text()
    reports, expected = map(json.loads, re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    now = datetime(2026, 11, 2, 7, 59, 59, tzinfo=UTC)
    said = []
    for report in reports:
        record = Stored("telemetry", 0, 0, FIRST_TIMESTAMP, None, json.dumps(report).encode(), ())
        decoded = telemetry.decode(record, now=now)
        assert isinstance(decoded, telemetry.HealthReport)
        said.append((decoded.component, decoded.status, decoded.time))
    found = by_id(built(facts_of(said), now=now))["STO/compute"]
    shown: dict[str, Any] = {
        each: {"uptime": uptime, "worst": worst} for each, (uptime, worst) in days_of(found).items()
    }
    assert shown | {"uptime": found.uptime} == expected
    assert found.status is MAJOR
    limits = (telemetry.MAX_AHEAD, component_days.SILENCE, component_days.KEPT - 1, component_days.SHOWN)
    assert limits == (timedelta(minutes=5), timedelta(minutes=15), 90, 90)
