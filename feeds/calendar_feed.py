"""All maintenance as a calendar one can subscribe to (iCalendar, RFC 5545): past, under way and to come.

An event keeps its UID, and its SEQUENCE grows with each update, so calendars change it and never show it twice. It
keeps the hours that were planned; what came of them stands in its description. There is no METHOD: a calendar that is
fetched needs none, and PUBLISH would ask for an organizer (RFC 5546, 3.2.1). So DTSTAMP is when the event last changed
(3.8.7.2).
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from feeds.plain_text import line
from feeds.syndication import CALENDAR, MAINTENANCE, STATUS_PAGE, entry_of, text_of, uuid_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from feeds.models import IncidentsDocument, Maintenance
    from feeds.pages import Site

CONTENT_TYPE = "text/calendar; charset=utf-8"
#: Octets of a line, without its end (3.1).
WIDTH = 75
#: How often a calendar should ask again: maintenance is announced days before.
REFRESH = "PT1H"
#: A calendar must have a component (3.6). Where there is no maintenance it has the zone its times would be in.
UTC_ZONE = (
    ("BEGIN", "VTIMEZONE"),
    ("TZID", "Etc/UTC"),
    ("BEGIN", "STANDARD"),
    ("DTSTART", "19700101T000000"),
    ("TZOFFSETFROM", "+0000"),
    ("TZOFFSETTO", "+0000"),
    ("TZNAME", "UTC"),
    ("END", "STANDARD"),
    ("END", "VTIMEZONE"),
)


def calendar(document: IncidentsDocument, site: Site, path: str) -> bytes:
    """Return the calendar at `path`: an event for each maintenance. Pure."""
    changed = max((each.updated_at for each in document.maintenances), default=document.as_of)
    name = escaped(f"{site.name} maintenance")
    fields = [
        ("BEGIN", "VCALENDAR"),
        ("VERSION", "2.0"),
        ("PRODID", "-//Heliograph//Maintenance//EN"),
        ("CALSCALE", "GREGORIAN"),
        ("UID", str(uuid_of(document.provider, CALENDAR, ""))),
        ("LAST-MODIFIED", _moment(changed)),
        ("NAME", name),
        ("X-WR-CALNAME", name),
        ("URL", f"{site.public_url}{STATUS_PAGE}"),
        ("SOURCE;VALUE=URI", f"{site.public_url}{path}"),
        ("REFRESH-INTERVAL;VALUE=DURATION", REFRESH),
        ("X-PUBLISHED-TTL", REFRESH),
    ]
    for each in document.maintenances:
        fields.extend(_event(each, document.provider, site))
    if not document.maintenances:
        fields.extend(UTC_ZONE)
    fields.append(("END", "VCALENDAR"))
    return b"".join(folded(f"{key}:{value}") for key, value in fields)


def status_of(maintenance: Maintenance) -> str:
    """Return STATUS (3.8.1.11): CANCELLED for what was over before it was to begin and never began. Pure."""
    ended = maintenance.completed_at
    if ended is None or maintenance.started_at is not None or ended > maintenance.scheduled_for:
        return "CONFIRMED"
    return "CANCELLED"


def sequence_of(maintenance: Maintenance) -> int:
    """Return SEQUENCE (3.8.7.4): seconds from the first that was said to the last, and one for each after it. Pure.

    It grows with whatever is said, also within a second, or late and of a moment in between; and it needs no memory.
    """
    since = maintenance.updated_at - maintenance.created_at
    return int(since.total_seconds()) + max(0, len(maintenance.updates) - 1)


def escaped(text: str) -> str:
    r"""Return a TEXT value (3.3.11): a line end is `\n`, and what means something else is escaped. Pure."""
    for each in ("\\", ";", ","):
        text = text.replace(each, f"\\{each}")
    return text.replace("\n", "\\n")


def folded(content: str) -> bytes:
    """Return a content line with its end, folded (3.1) between characters and never within one. Pure."""
    made, width = [b""], WIDTH
    for each in content:
        octets = each.encode()
        if len(made[-1]) + len(octets) > width:
            made.append(b"")
            width = WIDTH - 1  # the space before it counts
        made[-1] += octets
    return b"\r\n ".join(made) + b"\r\n"


def _event(maintenance: Maintenance, provider: str, site: Site) -> Iterator[tuple[str, str]]:
    entry = entry_of(maintenance, provider, site)
    yield "BEGIN", "VEVENT"
    yield "UID", str(uuid_of(provider, MAINTENANCE, maintenance.id))
    yield "DTSTAMP", _moment(maintenance.updated_at)
    yield "CREATED", _moment(maintenance.created_at)
    yield "LAST-MODIFIED", _moment(maintenance.updated_at)
    yield "SEQUENCE", str(sequence_of(maintenance))
    yield "DTSTART", _moment(maintenance.scheduled_for)
    if maintenance.scheduled_until > maintenance.scheduled_for:  # it must be later (3.8.2.2)
        yield "DTEND", _moment(maintenance.scheduled_until)
    yield "SUMMARY", escaped(entry.title)
    yield "DESCRIPTION", escaped(text_of(entry))
    if maintenance.components:
        yield "LOCATION", escaped(", ".join(map(line, maintenance.components)))
    yield "STATUS", status_of(maintenance)
    yield "TRANSP", "TRANSPARENT"
    yield "URL", entry.url
    yield "END", "VEVENT"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
