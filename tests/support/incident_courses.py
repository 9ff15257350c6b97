"""What is said of incidents and maintenance, in short: `opened@0 monitoring@40 resolved@163`; and any of it.

What stands behind the @ are minutes. Events are decoded and valid, as a handler gets them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from feeds.incident_facts import row_of
from feeds.incidents import COMPLETED, OPENED, RESOLVED, SCHEDULED, STARTED, UPDATED
from feeds.models import IncidentStatus
from tests.support.domain_events import an_event

if TYPE_CHECKING:
    from consumers.events import Event
    from feeds.incidents import Row

#: Minute 0.
START = datetime(2026, 11, 7, 4, tzinfo=UTC)
UPDATES = tuple(str(each) for each in IncidentStatus if each is not IncidentStatus.RESOLVED)
WORK = {"started": STARTED, "completed": COMPLETED}


def minute(number: float) -> datetime:
    """Return a moment; minutes may be negative."""
    return START + timedelta(minutes=number)


def opened(at: float = 0, *, event_id: str | None = None, **changes: Any) -> Event:
    """Return `incident.opened`."""
    return _event(OPENED, event_id, {"started_at": minute(at).isoformat(), **changes})


def updated(status: str, at: float, *, event_id: str | None = None, **changes: Any) -> Event:
    """Return `incident.updated`."""
    given = {"status": status, "updated_at": minute(at).isoformat(), "body": f"{status} at {at}", **changes}
    return _event(UPDATED, event_id, given)


def resolved(at: float, *, event_id: str | None = None, **changes: Any) -> Event:
    """Return `incident.resolved`."""
    return _event(RESOLVED, event_id, {"resolved_at": minute(at).isoformat(), **changes})


def scheduled(at: float, begins: float, ends: float, *, event_id: str | None = None, **changes: Any) -> Event:
    """Return `maintenance.scheduled`, said at one minute of work at others."""
    given = {"scheduled_for": minute(begins).isoformat(), "scheduled_until": minute(ends).isoformat(), **changes}
    return replace(_event(SCHEDULED, event_id, given), time=minute(at))


def work(what: str, at: float, *, event_id: str | None = None, **changes: Any) -> Event:
    """Return `maintenance.started` or `maintenance.completed`."""
    return _event(WORK[what], event_id, {f"{what}_at": minute(at).isoformat(), **changes})


def course(text: str) -> list[Event]:
    """Return events of one incident, or of one maintenance (`scheduled@-60:0-120 started@2`), as they are written."""
    made = []
    for part in text.split():
        what, _, at = part.partition("@")
        if what == "opened":
            made.append(opened(float(at)))
        elif what == "resolved":
            made.append(resolved(float(at)))
        elif what == "scheduled":
            said, _, planned = at.partition(":")
            begins, _, ends = planned.partition("-")
            made.append(scheduled(float(said), float(begins), float(ends)))
        elif what in WORK:
            made.append(work(what, float(at)))
        else:
            made.append(updated(what, float(at)))
    return made


def rows(*events: Event) -> list[Row]:
    """Return events as they are stored."""
    return [row_of(event) for event in events]


def _event(event_type: str, event_id: str | None, changes: dict[str, Any]) -> Event:
    event = an_event(event_type, **changes)
    return event if event_id is None else replace(event, id=event_id)


# --- any of it --------------------------------------------------------------------------------------------------------

#: Few, so that much happens at one moment, says the same, and is about the same.
_MINUTES = st.integers(0, 5).map(float) | st.just(0.5)
_BODIES = st.sampled_from(["one", "two"])
_IDS = st.sampled_from(["a", "b"])
_TITLES = st.sampled_from(["First title", "Second title"])
_IMPACTS = st.sampled_from(["none", "minor", "critical"])
_OF_INCIDENT = st.fixed_dictionaries({"incident_id": _IDS, "body": _BODIES})
_OF_MAINTENANCE = st.fixed_dictionaries({"maintenance_id": _IDS, "body": _BODIES})


def any_events() -> st.SearchStrategy[list[Event]]:
    """Return any number of events about two incidents and two maintenances that have the same ids."""
    one = st.one_of(
        st.builds(lambda at, said, more: opened(at, **said, **more), _MINUTES, _OF_INCIDENT,
                  st.fixed_dictionaries({"title": _TITLES, "impact": _IMPACTS})),
        st.builds(lambda status, at, said: updated(status, at, **said), st.sampled_from(UPDATES), _MINUTES,
                  _OF_INCIDENT),
        st.builds(lambda at, said: resolved(at, **said), _MINUTES, _OF_INCIDENT),
        st.builds(lambda at, begins, said: scheduled(at, begins, begins + 2, **said), _MINUTES, _MINUTES,
                  _OF_MAINTENANCE),
        st.builds(lambda what, at, said: work(what, at, **said), st.sampled_from(sorted(WORK)), _MINUTES,
                  _OF_MAINTENANCE),
    )  # fmt: skip
    return st.lists(one, max_size=12).map(
        lambda events: [replace(event, id=f"event-{number}") for number, event in enumerate(events)]
    )


def every_kind() -> list[Event]:
    """Return an event of every type and state, of an incident and a maintenance with the same id as one of any."""
    of_incident, of_maintenance = {"incident_id": "a"}, {"maintenance_id": "a"}
    return [
        opened(0, **of_incident),
        *(updated(status, at, **of_incident) for at, status in enumerate(UPDATES, 1)),
        resolved(4, **of_incident),
        scheduled(0, 1, 3, **of_maintenance),
        *(work(what, at, **of_maintenance) for what, at in (("started", 2), ("completed", 4))),
    ]


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """Return events, every kind among them, and the same in another order, some of them several times."""
    events = [*draw(any_events()), *every_kind()]
    again = draw(st.lists(st.sampled_from(events), max_size=5))
    return events, draw(st.permutations([*events, *again]))
