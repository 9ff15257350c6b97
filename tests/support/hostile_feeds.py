"""Documents in which everything is as long and as odd as it may get: markup, controls, words without end, bad days."""

from __future__ import annotations

from feeds.models import ComponentStatus
from tests.support.feed_documents import OPEN, PAST, Shelf, incidents, latest, peering, status

ODD = "<\u754c> & 'quoted' \u202eturned\x1b[31m \N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET} https://provider.example/"
LONG = ODD + "W" * 400 + " and so on" * 1_000
DAYS = (ComponentStatus.MAJOR_OUTAGE, ComponentStatus.OPERATIONAL, ComponentStatus.DEGRADED_PERFORMANCE)
#: How many there are of each incident and maintenance, and of each component.
TIMES = 6


def hostile_shelf(times: int = TIMES) -> Shelf:
    """Return one with everything so many times, by itself more than a page has; the first incident has most updates."""
    held, doing, network = incidents(), status(), peering(300)
    updates = [each.model_copy(update={"body": LONG}) for each in (*OPEN.updates, *PAST[2].updates)]
    odd = {"title": LONG, "components": ["STO/compute", LONG] * 20, "updates": updates}
    copies = [(each, f"{each.id}.{number}") for each in held.incidents for number in range(times)]
    many = [each.model_copy(update=odd | {"id": identifier}) for each, identifier in copies]
    many[0] = many[0].model_copy(update={"updates": updates * 3 * times})
    planned = [
        each.model_copy(update=odd | {"id": f"{each.id}.{number}"})
        for each in held.maintenances
        for number in range(times)
    ]
    days = [
        each.model_copy(update={"worst": DAYS[number % len(DAYS)]})
        for number, each in enumerate(doing.components[0].days)
    ]
    components = [
        each.model_copy(update={"id": f"{each.id}.{number}", "name": LONG, "days": days})
        for number in range(times)
        for each in doing.components
    ]
    net = network.net | {
        name: [{key: LONG if isinstance(value, str) else value for key, value in each.items()} for each in rows] * 40
        for name, rows in network.net.items()
        if isinstance(rows, list) and isinstance(rows[0], dict)
    }
    sessions = [each.model_copy(update={"session": LONG}) for each in network.sessions * 40]
    return Shelf(
        latest(doing.model_copy(update={"components": components})),
        latest(held.model_copy(update={"incidents": many, "maintenances": planned})),
        latest(network.model_copy(update={"net": net | {"notes": LONG, "aka": LONG}, "sessions": sessions})),
    )
