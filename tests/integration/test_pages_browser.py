"""The pages in a real browser, Debian's Chromium: accessible, asking nobody else, whole without mouse or scripts.

The rules of accessibility are axe-core's, WCAG 2.2 A and AA with its best practices.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import shutil
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from feeds.canary_standing import Standing
from feeds.key_routes import routes as key_routes
from feeds.keys import Duties, PublishedKeys
from tests.support import canaries, feed_documents, gpg
from tests.support.feed_documents import NOW, Shelf, latest, shelf
from tests.support.feed_pages import SITE, Announcer, all_routes, serving
from tests.support.hostile_feeds import hostile_shelf
from tests.support.published_canaries import Watching, believed
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

    from feeds.documents import Published
    from runtime.database import Pool

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: Chromium is not installed (Debian: apt install chromium)"),
    pytest.mark.asyncio(loop_scope="module"),
]
SECONDS = 30_000
PATHS = (
    "/status/",
    "/status/history/",
    "/status/incidents/inc_2026_0919",
    "/warrant-canary/",
    "/peering/",
    "/peering/?prefix=185.240.0.0/22",
    "/pgp/",
)
WIDTHS = (360, 1440)
IS_WIDE = "document.documentElement.scrollWidth > innerWidth"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


class Archive:
    """A database that is there; what it has of canaries `earlier` says."""

    def acquire(self) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()


async def earlier(*_: object, **__: object) -> list[Published]:
    """Return a canary of each of eight months, the newest first."""
    made = [believed(canaries.first(canaries.FIRST - n * timedelta(days=30)), number=8 - n).published for n in range(8)]
    return [each for each in made if each is not None]


class Opened:
    """A page, and what it said and asked for while it was open."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path, timeout=SECONDS)


class Held:
    """What is served to the browser, and the browser."""

    def __init__(self, browser: Browser, url: str, shelf: Shelf, canary: Watching, announcer: Announcer) -> None:
        self.browser = browser
        self.url = url
        self.shelf = shelf
        self.canary = canary
        self.announcer = announcer

    @contextlib.contextmanager
    def showing(self, other: Shelf) -> Iterator[None]:
        shelf = self.shelf
        before = shelf.status, shelf.incidents, shelf.peering
        shelf.status, shelf.incidents, shelf.peering = other.status, other.incidents, other.peering
        try:
            yield
        finally:
            shelf.status, shelf.incidents, shelf.peering = before

    @contextlib.asynccontextmanager
    async def opened(self, *, width: int = 1440, scripts: bool) -> AsyncIterator[Opened]:
        context = await self.browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
        try:
            yield Opened(await context.new_page(), self.url)
            assert await context.cookies() == []
        finally:
            await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def held(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Held]:
    folder: Path = tmp_path_factory.mktemp("keys")
    clock, canary, announcer, held = FakeClock(NOW), Watching(believed(canaries.first())), Announcer(), shelf()
    with gpg.home() as home:
        key = home.make()
        (folder / f"{key}.asc").write_bytes(home.public(key))
    keys = PublishedKeys(folder, duties=Duties(key))
    await keys.load()
    pool: Pool = Archive()  # type: ignore[assignment]  # connects nobody
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("feeds.canary_page.documents.page", earlier)
    routes = [*all_routes(held, canary, pool, clock), *key_routes(keys, SITE, clock=clock)]
    async with (
        serving(routes, stream=announcer.serve) as url,
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        yield Held(browser, url, held, canary, announcer)
    monkeypatch.undo()


@functools.cache
def axe() -> str:
    return (resources.files("axe_core_python") / "axe.min.js").read_text()


async def flaws(opened: Opened, widths: tuple[int, ...] = WIDTHS) -> list[str]:
    """Return what axe-core finds in light and dark, on a phone and on a desk, and where."""
    await opened.page.evaluate(axe())
    found = []
    for width, scheme in itertools.product(widths, SCHEMES):
        await opened.page.set_viewport_size({"width": width, "height": 900})
        await opened.page.emulate_media(color_scheme=scheme)
        told: dict[str, Any] = await opened.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [
            f"{width} {scheme}: {each['impact']} {each['id']}: {[node['html'][:120] for node in each['nodes'][:3]]}"
            for each in told["violations"]
        ]
        if await opened.page.evaluate(IS_WIDE):
            found.append(f"{width} {scheme}: wider than the window")
    return found


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_is_accessible_fits_and_asks_nobody_else(held: Held, path: str) -> None:
    async with held.opened(scripts=True) as opened:
        await opened.go(path)
        assert await flaws(opened) == []
    assert opened.said == []
    assert {urlsplit(each).netloc for each in opened.asked} == {urlsplit(held.url).netloc}


async def test_alarms_and_emptiness_are_accessible_too(held: Held) -> None:
    before = held.canary.standing
    held.canary.standing = Standing()
    try:
        with held.showing(Shelf(latest(feed_documents.quiet_status()))):
            async with held.opened(scripts=True) as opened:
                for path in ("/status/", "/status/history/", "/warrant-canary/", "/peering/"):
                    await opened.go(path)
                    assert await flaws(opened, (360,)) == [], path
    finally:
        held.canary.standing = before


async def test_whatever_was_written_is_text_that_fits(held: Held) -> None:
    with held.showing(hostile_shelf()):
        async with held.opened(scripts=True) as opened:
            for path in ("/status/", "/status/history/", "/status/incidents/inc_2026_1120.0", "/peering/"):
                await opened.go(path)
                for width in WIDTHS:
                    await opened.page.set_viewport_size({"width": width, "height": 900})
                    assert await opened.page.evaluate(IS_WIDE) is False, (path, width)
            await opened.go("/status/")
            title = opened.page.get_by_role("link", name="<\u754c> & 'quoted' turned[31m").first
            assert (await title.get_attribute("lang"), await title.get_attribute("dir")) == ("en", "auto")
    assert opened.said == []


async def test_on_paper_everything_is_ink(held: Held) -> None:
    async with held.opened(scripts=False) as opened:
        await opened.page.emulate_media(media="print", color_scheme="light")
        for path in ("/status/", "/warrant-canary/"):
            await opened.go(path)
            banner = opened.page.locator(".banner")
            colours = "each => [getComputedStyle(each).color, getComputedStyle(each).backgroundColor]"
            assert await banner.evaluate(colours) == ["rgb(20, 32, 43)", "rgba(0, 0, 0, 0)"]
            assert not await opened.page.locator("nav").first.is_visible()


async def test_without_scripts_everything_is_there(held: Held) -> None:
    async with held.opened(scripts=False) as opened:
        await opened.go("/status/")
        page = opened.page
        assert await page.locator("svg.bars").count() == 16
        days = page.locator("details", has_text="3 days with trouble")
        assert not await days.locator("li").first.is_visible()
        await days.locator("summary").press("Enter")
        assert await days.locator("li").count() == 3
        assert await days.locator("li").first.is_visible()
        await page.get_by_role("link", name="Packet loss towards Helsinki").click()
        await page.wait_for_url("**/status/incidents/inc_2026_1120")
        await page.get_by_role("link", name="All incidents").click()
        await page.wait_for_url("**/status/history/")
        await opened.go("/peering/")
        await page.get_by_label("Prefix or address").fill("185.240.1.7")
        await page.get_by_label("Prefix or address").press("Enter")
        await page.wait_for_url("**/peering/?prefix=185.240.1.7")
        assert await page.get_by_role("rowheader", name="185.240.1.0/24").is_visible()
    assert opened.said == []
    assert not any(each.endswith(".js") for each in opened.asked)


#: What has the keyboard, and whether one sees it.
FOCUSED = (
    "[document.activeElement.outerHTML.slice(0, 160), getComputedStyle(document.activeElement).outlineStyle !== 'none']"
)
FOCUSABLE = (
    "[...document.querySelectorAll('a[href], button, input, summary, [tabindex=\"0\"]')]"
    ".map(each => [each.outerHTML.slice(0, 160), true])"
)


@pytest.mark.parametrize("path", ["/status/", "/warrant-canary/", "/peering/"])
async def test_the_keyboard_reaches_everything_in_the_order_of_the_page(held: Held, path: str) -> None:
    async with held.opened(width=360, scripts=True) as opened:
        await opened.go(path)
        wanted = await opened.page.evaluate(FOCUSABLE)
        reached = []
        for _ in wanted:
            await opened.page.keyboard.press("Tab")
            reached.append(await opened.page.evaluate(FOCUSED))
        assert reached == wanted


async def test_the_first_key_skips_the_navigation(held: Held) -> None:
    async with held.opened(scripts=False) as opened:
        await opened.go("/status/")
        await opened.page.keyboard.press("Tab")
        await opened.page.keyboard.press("Enter")
        assert opened.page.url.endswith("#main")


async def test_a_canary_one_looks_at_changes_with_its_state(held: Held) -> None:
    before = held.canary.standing
    held.announcer.connected.clear()
    try:
        async with held.opened(scripts=True) as opened:
            await opened.page.add_init_script("Math.random = () => 0")
            await opened.go("/warrant-canary/")
            await asyncio.wait_for(held.announcer.connected.wait(), 30)
            held.canary.standing = believed(canaries.retirement())
            held.announcer.tell("canary")
            await opened.page.get_by_text("Ended for good").wait_for(timeout=SECONDS)
            assert await opened.page.title() == "Ended for good: Warrant canary · NordBastion"
        assert opened.said == []
    finally:
        held.canary.standing = before


async def test_a_page_ages_before_the_eyes_of_who_looks_at_it(held: Held) -> None:
    async with held.opened(scripts=True) as opened:
        await opened.page.add_init_script("Math.random = () => 0")
        await opened.page.clock.install()
        await opened.go("/status/")
        old = feed_documents.status().model_copy(update={"as_of": NOW - timedelta(hours=3)})
        with held.showing(Shelf(latest(old))):
            await opened.page.clock.run_for(10 * 60 * 1000)
            await opened.page.get_by_text("This page is older than it should be.").wait_for(timeout=SECONDS)


async def test_a_page_one_looks_at_renews_itself_and_says_so(held: Held) -> None:
    before = held.shelf.status
    held.announcer.connected.clear()
    try:
        async with held.opened(scripts=True) as opened:
            await opened.page.add_init_script("Math.random = () => 0")
            await opened.go("/status/")
            await asyncio.wait_for(held.announcer.connected.wait(), 30)
            await opened.page.locator("summary", has_text="3 days").click()
            held.shelf.status = latest(feed_documents.quiet_status(), number=2)
            held.announcer.tell("peering")
            held.announcer.tell("status")
            await opened.page.get_by_text("All systems operational").wait_for(timeout=SECONDS)
            said = opened.page.locator("#said")
            await said.filter(has_text="The page has been brought up to date.").wait_for(
                state="attached", timeout=SECONDS
            )
            assert await opened.page.locator("details[open]").count() == 1
            assert await opened.page.title() == "All systems operational · NordBastion"
        assert opened.said == []
    finally:
        held.shelf.status = before
