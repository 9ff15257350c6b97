"""The pages over HTTP: what they say of documents and canaries, and how they are kept."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import aiohttp
import pytest

from feeds.canary_routes import routes as canary_routes
from feeds.canary_standing import Standing
from feeds.canary_watch import CanaryWatch
from feeds.key_routes import routes as key_routes
from feeds.keys import Duties, PublishedKeys
from feeds.pages import LIVE_POLICY, POLICY, SEARCH_POLICY
from signer.canary_check import Fault, Reason
from tests.support import canaries, feed_documents, gpg
from tests.support.api import Caller
from tests.support.desk import a_desk
from tests.support.feed_documents import Shelf, latest, shelf
from tests.support.feed_pages import SITE, Pages, all_routes, in_shell, serving, shell_lines, some_pages, words
from tests.support.published_canaries import Council, believed, council
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

DAY = 86_400
FIRST = canaries.first()
PAGES = [
    ("/status/", LIVE_POLICY),
    ("/status/history/", POLICY),
    ("/status/incidents/inc_2026_1120", LIVE_POLICY),
    ("/status/maintenance/mnt_2026_0031", LIVE_POLICY),
    ("/warrant-canary/", LIVE_POLICY),
    ("/peering/", SEARCH_POLICY),
]


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with some_pages(shelf(), believed(FIRST)) as made:
        yield made


# --- what they say ----------------------------------------------------------------------------------------------------


async def test_the_status_page_tells_what_the_documents_say(pages: Pages) -> None:
    said = await pages.text("/status/")
    order = [
        "Partially degraded service As of 20 November 2026, 01:00 UTC",
        "Open incidents", "Packet loss towards Helsinki", "Minor", "Affected: Helsinki Network",
        "Monitoring 20 November 2026, 01:13 UTC", "Identified", "Investigating",
        "Maintenance", "Core router upgrade in Oslo", "In progress", "Storage firmware in Reykjavik", "Scheduled",
        "Services", "Stockholm STO Operational", "Compute Operational", "1 day with trouble (Compute)",
        "19 September 2026 : Major outage, 92.36% uptime", "Helsinki HEL Degraded performance",
        "Under maintenance", "Shared services", "No report has come for a while",
        "Past incidents", "Partial loss of connectivity in Helsinki", "Resolved 7 November 2026, 06:55 UTC",
        "Subscribe", "Atom", "Calendar",
    ]  # fmt: skip
    place = 0
    for each in order:
        place = said.find(each, place)
        assert place >= 0, each
    assert "This page is older" not in said


async def test_a_status_that_was_not_renewed_is_shown_with_its_age(pages: Pages) -> None:
    pages.clock.advance(3 * 3600)
    said = await pages.text("/status/")
    assert "This page is older than it should be." in said
    assert "As of 20 November 2026, 01:00 UTC" in said


async def test_a_quiet_day_is_a_quiet_page(pages: Pages) -> None:
    pages.shelf.status = latest(feed_documents.quiet_status())
    pages.shelf.incidents = latest(feed_documents.no_incidents())
    said = await pages.text("/status/")
    assert "All systems operational" in said
    assert "None in the last 14 days." in said
    assert "Open incidents" not in said
    assert "There has been none." in await pages.text("/status/history/")


async def test_before_anything_is_published_the_pages_say_so() -> None:
    async with some_pages(Shelf(), Standing()) as pages:
        assert "Nothing has been published yet" in await pages.text("/status/")
        assert "The list of incidents has not been published yet." in await pages.text("/status/history/")
        assert "No peering record has been published yet." in await pages.text("/peering/")
        assert "There is no canary" in await pages.text("/warrant-canary/")
        assert (await pages.ask("GET", "/status/incidents/x")).status == 404
        pages.shelf.status = latest(feed_documents.status())
        assert "The list of incidents has not been published yet." in await pages.text("/status/")


async def test_an_incident_has_all_its_updates_and_a_maintenance_its_window(pages: Pages) -> None:
    said = await pages.text("/status/incidents/inc_2026_0919")
    for each in ("Power failure in one hall", "Critical", "Stockholm Compute, Stockholm Storage", "Looking back"):
        assert each in said
    assert said.index("The test was started") < said.index("Servers in hall B are down.")
    said = await pages.text("/status/maintenance/mnt_2026_0029")
    for each in ("Planned from 21 October 2026, 01:00 UTC", "Completed 21 October 2026, 02:10 UTC", "Oslo Network"):
        assert each in said
    for path in ("/status/incidents/mnt_2026_0029", "/status/maintenance/inc_2026_0919", "/status/incidents/<x>"):
        answer = await pages.ask("GET", path)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert "There is nothing here" in answer.content.decode()
        assert "<x>" not in answer.content.decode()
        again = await pages.ask("GET", path, If_None_Match=answer.headers["ETag"], Accept_Language="sv")
        assert (again.status, "Här finns ingenting" in again.content.decode()) == (404, True)


async def test_an_incident_whose_opening_never_came_has_its_id_for_a_title(pages: Pages) -> None:
    strange = "../<b>&?x=1#/å"
    lost = feed_documents.OPEN.model_copy(update={"id": strange, "title": ""})
    document = feed_documents.incidents().model_copy(update={"incidents": [lost]})
    pages.shelf.incidents = latest(document)
    page = (await pages.ask("GET", "/status/")).content.decode()
    assert "Incident ../&lt;b&gt;&amp;?x=1#/å" in page
    [link] = set(re.findall(r'href="(incidents/[^"]+)"', page))
    assert f"Incident {strange}" in await pages.text(f"/status/{link}")


async def test_the_history_leads_from_page_to_page(pages: Pages) -> None:
    pages.shelf.incidents = latest(feed_documents.many_incidents(120))
    first = await pages.text("/status/history/")
    assert "Page 1 of 3" in first
    assert "Incident number 0 " in first
    assert "Older ones are no longer part" not in first
    assert "November 2026" in first
    last = await pages.text("/status/history/?page=3")
    assert "Incident number 119 " in last
    assert "Older ones are no longer part of the document." in last
    for number in ("0", "4", "x"):
        assert (await pages.ask("GET", f"/status/history/?page={number}")).status == 404


async def test_the_record_is_searched_by_prefix_and_by_address(pages: Pages) -> None:
    said = await pages.text("/peering/")
    for each in ("AS213232", "185.240.2.0/24 AS213232 Withdrawn", "Netnod Stockholm GREEN", "100 Gbit/s", "Open",
                 "RIPE::AS-NORDBASTION", "Equinix SK1 Stockholm, SE", "noc@nordbastion.com"):  # fmt: skip
        assert each in said
    assert "p@nordbastion.com" not in said
    assert "Exactly this prefix" in await pages.text("/peering/?prefix=185.240.1.0/24")
    around = await pages.text("/peering/?prefix=%20185.240.1.7%20")
    assert "The longest announced prefix around it Prefix Origin State Since 185.240.1.0/24" in around
    assert "Prefixes within it" in await pages.text("/peering/?prefix=185.240.0.0/16")
    assert "The record has nothing of 8.8.8.8/32." in await pages.text("/peering/?prefix=8.8.8.8")
    assert "neither a prefix nor an address" in await pages.text("/peering/?prefix=<script>")
    assert b"<script>" not in (await pages.ask("GET", "/peering/?prefix=<script>")).content


# --- the canary -------------------------------------------------------------------------------------------------------

ALARMS = [
    (believed(FIRST), 0, "Current The signers have affirmed", "good"),
    (believed(FIRST), 5 * DAY, "Due soon The signers", "good"),
    (believed(FIRST), 11 * DAY, "Overdue The next canary should", "bad"),
    (believed(FIRST), 20 * DAY, "Expired No new canary", "bad"),
    (believed(FIRST, faults=(Fault(Reason.VANISHED, ""),)), 0, "Not to be believed", "bad"),
    (believed(FIRST, faults=(Fault(Reason.REVOKED_KEY, ""),)), 0, "Ended for good", "bad"),
    (believed(canaries.retirement()), 0, "Ended for good", "bad"),
    (Standing(), 0, "There is no canary", "bad"),
]


@pytest.mark.parametrize(("standing", "later", "expected", "tone"), ALARMS)
async def test_the_canary_says_its_state_and_what_it_means(
    standing: Standing, later: float, expected: str, tone: str
) -> None:
    async with some_pages(shelf(), standing) as pages:
        pages.clock.advance(later)
        answer = await pages.ask("GET", "/warrant-canary/")
        assert answer.status == 200
        assert expected in words(answer.content)
        assert f"banner banner-{tone}".encode() in answer.content
        assert (b'role="alert"' in answer.content) is (tone == "bad")
        believes = tone == "good"
        assert ("What the signers affirm" in words(answer.content)) is believes


async def test_the_page_of_the_canary_goes_with_the_time(pages: Pages) -> None:
    assert "Until the next is due 10 days" in await pages.text("/warrant-canary/")
    pages.clock.advance(9 * DAY)
    assert "Until the next is due 46 hours" in (said := await pages.text("/warrant-canary/")), said
    pages.clock.advance(DAY + 22 * 3600 + 1_770)
    answer = await pages.ask("GET", "/warrant-canary/")
    assert "less than an hour" in words(answer.content)
    assert answer.headers["Cache-Control"] == "public, max-age=30, must-revalidate"
    pages.clock.advance(30)
    assert "Until it expires 7 days" in await pages.text("/warrant-canary/")


async def test_a_canary_says_why_it_is_not_believed_and_what_is_gone(pages: Pages) -> None:
    pages.canary.standing = believed(FIRST, faults=(Fault(Reason.TOO_FEW_SIGNATURES, "1 of 2"),))
    assert "What is wrong with it: too_few_signatures" in await pages.text("/warrant-canary/")
    said = canaries.STATEMENTS[:2]
    shorter = canaries.successor(FIRST, canaries.FIRST.replace(day=2), statements=said, removed=frozenset({"seizures"}))
    pages.canary.standing = believed(shorter)
    text = await pages.text("/warrant-canary/")
    assert "Something is no longer said" in text
    assert "What is gone" in text
    assert "seizures" in text
    pages.canary.standing = believed(canaries.retirement())
    assert "The signers say: We stop." in await pages.text("/warrant-canary/")


@pytest.fixture(scope="module")
def signers() -> Iterator[Council]:
    with council() as made:
        yield made


async def test_three_lines_verify_the_canary_and_the_history_has_those_before(
    dsn: str, signers: Council, tmp_path: Path
) -> None:
    clock = FakeClock(canaries.FIRST)
    async with a_desk(dsn) as desk:
        watch = CanaryWatch(desk.pool, signers.pins(), clock)
        keys = PublishedKeys(signers.folder, duties=Duties(None, signers.keys))
        await keys.load()
        routes = [
            *all_routes(shelf(), watch, desk.pool, clock),
            *canary_routes(watch, desk.pool, clock, url=f"{SITE.public_url}/v1"),
            *key_routes(keys, SITE, clock=clock),
        ]
        async with serving(routes) as url, aiohttp.ClientSession() as session:
            ask = Caller(url, session)
            first = signers.first()
            async with desk.pool.acquire() as connection:
                await signers.publish(connection, first)
            await watch.load()
            assert "1 1 November 2026 1 December 2026 2" in words((await ask("GET", "/warrant-canary/")).content)
            clock.advance(25 * DAY)
            async with desk.pool.acquire() as connection:
                await signers.publish(connection, signers.successor(first, clock.now()))
            await watch.load()
            page = (await ask("GET", "/warrant-canary/")).content
            said = words(page)
            assert said.count("Signed Signature") == 2
            assert said.index("2 26 November 2026") < said.index("1 1 November 2026")
            script = shell_lines(page).replace(SITE.public_url, url)
            assert len(script.splitlines()) == 3
            with gpg.home() as home:
                ran = await in_shell(script, tmp_path, home.path)
                assert ran.returncode == 0, ran.stderr
                assert ran.stderr.count("Good signature from") == 2
                (tmp_path / "canary.json").write_bytes(b"{}")
                assert (await in_shell(script.splitlines()[2], tmp_path, home.path)).returncode != 0


# --- how they are served ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "policy"), PAGES)
async def test_a_page_is_safe_to_look_at(pages: Pages, path: str, policy: str) -> None:
    answer = await pages.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["Content-Security-Policy"] == policy
    assert answer.headers["Onion-Location"] == f"http://abc.onion{path}"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers
    page = answer.content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src)", page)
    assert page.count("<script") == (policy == LIVE_POLICY)
    assert page.count("<h1") == 1


async def test_what_a_page_links_to_on_its_own_site_is_there(pages: Pages) -> None:
    elsewhere = re.compile(r"/v1/|/pgp/|/history\.|/feed\.json|/maintenance\.ics|/api/v2/")
    for path, _ in PAGES:
        page = (await pages.ask("GET", path)).content.decode()
        for link in set(re.findall(r'(?:href|src)="([^"#]+)"', page)):
            whole = urljoin(f"https://x{path}", html.unescape(link)).removeprefix("https://x")
            if not whole.startswith("http") and not elsewhere.match(whole):
                assert (await pages.ask("GET", whole)).status == 200, (path, link)


@pytest.mark.parametrize("path", ["/status", "/status/history", "/peering", "/warrant-canary"])
async def test_without_the_slash_one_is_led_to_it(pages: Pages, path: str) -> None:
    answer = await pages.ask("GET", path)
    assert (answer.status, answer.headers["Location"]) == (308, f"{path.rpartition('/')[2]}/")


async def test_the_root_leads_to_the_status(pages: Pages) -> None:
    answer = await pages.ask("GET", "/")
    assert (answer.status, answer.headers["Location"]) == (302, "status/")


async def test_a_page_is_made_once_for_its_documents_in_each_language(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    render = type(SITE).render

    def counting(site: object, template: str, *args: object, **values: object) -> object:
        made.append(template)
        return render(site, template, *args, **values)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(type(SITE), "render", counting)
    for _ in range(3):
        first = await pages.ask("GET", "/status/")
        swedish = await pages.ask("GET", "/status/", Accept_Language="sv, en;q=0.5")
    assert made == ["status.html"] * 2
    assert (first.headers["Content-Language"], swedish.headers["Content-Language"]) == ("en", "sv")
    assert first.headers["Vary"] == "Accept-Encoding, Accept-Language"
    assert first.headers["ETag"] != swedish.headers["ETag"]
    assert b'<html lang="sv">' in swedish.content
    assert "20 november 2026 kl." in words(swedish.content)
    again = await pages.ask("GET", "/status/", If_None_Match=first.headers["ETag"])
    assert (again.status, again.headers["Vary"]) == (304, "Accept-Encoding, Accept-Language")
    pages.shelf.status = latest(feed_documents.quiet_status(), number=2)
    assert (await pages.ask("GET", "/status/", If_None_Match=first.headers["ETag"])).status == 200
    assert len(made) == 3


async def test_no_more_pages_are_kept_than_there_is_room_for(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.pages.kept.MOST", 2)
    first = await pages.text("/peering/?prefix=185.240.0.0/24")
    for number in range(5):
        assert f"185.240.{number}.0/24" in await pages.text(f"/peering/?prefix=185.240.{number}.0/24")
    assert await pages.text("/peering/?prefix=185.240.0.0/24") == first
