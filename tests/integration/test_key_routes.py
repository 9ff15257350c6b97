"""What readers get the keys by, over HTTP: the page, the files, the directory; and what gpg and Sequoia make of it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pysequoia
import pytest

from feeds.keys import Duties, PublishedKeys
from feeds.pages import ASSETS, POLICY
from feeds.security_text import Contacts, SecurityText
from signer import wkd
from signer.pgp import Keyring
from tests.support import gpg
from tests.support.key_site import SITE, serving
from tests.support.signers import Asking, socket_path
from tests.support.signers import serving as signing
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.api import Caller

DAY = 86_400
FEEDS = wkd.name_of("feeds")
DIRECTORY = "/.well-known/openpgpkey"


class Published(NamedTuple):
    """A folder of keys, and whose they are."""

    folder: Path
    home: gpg.Home
    feed: str
    subkeys: tuple[str, str]
    canary: str
    former: str
    revoked: str


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("keys")
    with gpg.home() as made:
        feed = made.make("NordBastion feeds <feeds@nordbastion.example>", usage="cert", expires="3y")
        made.gpg("--quick-add-uid", feed, "Elsewhere <feeds@elsewhere.example>")
        subkeys = made.add_subkey(feed), made.add_subkey(feed)
        made.revoke_subkey(feed)
        canary = made.make("Carin <Öberg> & Co <carin@nordbastion.example>", expires="10d")
        former = made.make("Old feeds <feeds@nordbastion.example>", at="20240101T000000")
        revoked = made.make("Lost <lost@nordbastion.example>")
        made.revoke(revoked)
        for key in (feed, canary, former, revoked):
            (folder / f"{key}.asc").write_bytes(made.public(key))
        yield Published(folder, made, feed, subkeys, canary, former, revoked)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def reader(published: Published, clock: FakeClock) -> AsyncIterator[Caller]:
    keys = PublishedKeys(published.folder, duties=Duties(published.feed, (published.canary,)))
    await keys.load()
    async with serving(keys, clock=clock, site=replace(SITE, onion_location="http://abc.onion")) as caller:
        yield caller


def spaced(fingerprint: str) -> str:
    return " ".join(fingerprint[start : start + 4] for start in range(0, 40, 4))


def words(page: bytes) -> str:
    """Return a page as it is read aloud."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.decode())).split())


async def test_the_page_tells_of_every_key(reader: Caller, published: Published) -> None:
    answer = await reader("GET", "/pgp/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    said = words(answer.content)
    assert "Carin <Öberg> & Co <carin@nordbastion.example>" in said
    order = [
        "Feed key Valid", spaced(published.feed), "NordBastion feeds <feeds@nordbastion.example>",
        "2 signing subkeys", "Canary signer 1 of 1 Expires soon", "This key expires on", spaced(published.canary),
        "Former feed key Expired", "This key expired on 31 December 2024.", spaced(published.former),
        "Other key Revoked", "This key has been revoked.", spaced(published.revoked), "Lost <lost@nordbastion.example>",
        "curl -fsSo keys.asc https://nordbastion.example/pgp/keys.asc",
        "--locate-external-keys feeds@nordbastion.example", "Both ways trust this host",
        "gpg --show-keys --with-fingerprint keys.asc", "3. Verify the warrant canary",
        "4. Verify what the feed key signs",
    ]  # fmt: skip
    places = [said.find(each) for each in order]
    assert -1 not in places
    assert places == sorted(places)
    for subkey in published.subkeys:
        assert spaced(subkey) in said
    assert said.count("Revoked") == 2  # a key, and a subkey


async def test_the_page_is_safe_to_look_at(reader: Caller) -> None:
    answer = await reader("GET", "/pgp/")
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Onion-Location"] == "http://abc.onion/pgp/"
    assert b"<script" not in answer.content
    assert b"<style" not in answer.content
    assert b"style=" not in answer.content


async def test_what_the_page_links_to_is_there(reader: Caller) -> None:
    page = (await reader("GET", "/pgp/")).content.decode()
    links = set(re.findall(r'(?:href|src)="([^"#]+)"', page)) - {SITE.home, "../status/"}
    assert f"..{ASSETS}/site.css" in links
    for link in links:
        path = link.removeprefix("..") if link.startswith("../") else f"/pgp/{link}"
        assert (await reader("GET", path)).status == 200, link


async def test_a_page_that_has_not_changed_is_not_sent_again(reader: Caller, clock: FakeClock) -> None:
    first = await reader("GET", "/pgp/")
    assert (await reader("GET", "/pgp/", If_None_Match=first.headers["ETag"])).status == 304
    head = await reader("HEAD", "/pgp/")
    assert (head.status, head.content, head.headers["ETag"]) == (200, b"", first.headers["ETag"])
    clock.advance(11 * DAY)
    later = await reader("GET", "/pgp/", If_None_Match=first.headers["ETag"])
    assert later.status == 200
    assert "Canary signer 1 of 1 Expired" in words(later.content)


async def test_a_key_that_comes_is_served_on_the_same_day(
    published: Published, clock: FakeClock, tmp_path: Path
) -> None:
    keys = PublishedKeys(tmp_path, duties=Duties())
    await keys.load()
    path = f"/pgp/{published.canary}.asc"
    async with serving(keys, clock=clock) as reader:
        assert (await reader("GET", path)).status == 404
        (tmp_path / "new.asc").write_bytes(published.home.public(published.canary))
        await keys.refresh()
        assert (await reader("GET", path)).status == 200
        assert spaced(published.canary) in words((await reader("GET", "/pgp/")).content)


async def test_without_the_slash_one_is_led_to_it(reader: Caller) -> None:
    answer = await reader("GET", "/pgp")
    assert (answer.status, answer.headers["Location"]) == (308, "pgp/")


async def test_styles_are_kept_for_ever(reader: Caller) -> None:
    answer = await reader("GET", f"{ASSETS}/site.css")
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["Cache-Control"]


async def test_one_file_has_every_key_for_gpg_and_for_sequoia(reader: Caller, published: Published) -> None:
    answer = await reader("GET", "/pgp/keys.asc")
    assert answer.headers["Content-Type"] == "application/pgp-keys"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    everyone = {published.feed, published.canary, published.former, published.revoked}
    async with Keyring() as keyring:
        taken = await keyring.import_certificates(answer.content)
    assert {each.fingerprint for each in taken} == everyone
    for key in everyone:
        alone = await reader("GET", f"/pgp/{key}.asc")
        assert pysequoia.Cert.from_bytes(alone.content).fingerprint.upper() == key
        assert alone.content in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/pgp/0000000000000000000000000000000000000000.asc",
        "/pgp/keys",
        f"{DIRECTORY}/hu/{wkd.name_of('nobody')}",
        f"{DIRECTORY}/elsewhere.example/hu/{wkd.name_of('carin')}",
        f"{DIRECTORY}/nowhere.example/hu/{FEEDS}",
        f"{DIRECTORY}/nowhere.example/policy",
        "/.well-known/security.txt",
    ],
)
async def test_what_is_not_there_is_not_there(reader: Caller, path: str) -> None:
    assert (await reader("GET", path)).status == 404


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/hu/{FEEDS}?l=feeds", "NordBastion feeds <feeds@nordbastion.example>"),
        (f"/nordbastion.example/hu/{FEEDS}?l=Feeds", "NordBastion feeds <feeds@nordbastion.example>"),
        (f"/NordBastion.Example/hu/{FEEDS}", "NordBastion feeds <feeds@nordbastion.example>"),
        (f"/elsewhere.example/hu/{FEEDS}?l=feeds", "Elsewhere <feeds@elsewhere.example>"),
    ],
)
async def test_the_directory_gives_the_key_with_the_name_that_was_asked_for(
    reader: Caller, published: Published, path: str, name: str
) -> None:
    answer = await reader("GET", DIRECTORY + path)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    [cert] = pysequoia.Cert.split_bytes(answer.content)
    assert cert.fingerprint.upper() == published.feed
    assert list(map(str, cert.user_ids)) == [name]
    with gpg.home() as other:
        other.take(answer.content)
        assert set(other.fingerprints()) == {published.feed, *published.subkeys}
    assert (await reader("HEAD", DIRECTORY + path)).content == b""


async def test_a_revoked_key_is_still_found_by_its_address(reader: Caller, published: Published) -> None:
    answer = await reader("GET", f"{DIRECTORY}/hu/{wkd.name_of('lost')}")
    async with Keyring() as keyring:
        [found] = await keyring.import_certificates(answer.content)
    assert (found.fingerprint, found.is_revoked) == (published.revoked, True)


@pytest.mark.parametrize("path", ["/policy", "/nordbastion.example/policy", "/elsewhere.example/policy"])
async def test_the_directory_has_no_policy(reader: Caller, path: str) -> None:
    answer = await reader("GET", DIRECTORY + path)
    assert (answer.status, answer.content) == (200, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_without_keys_the_page_says_so(clock: FakeClock) -> None:
    keys = PublishedKeys(None, duties=Duties())
    await keys.load()
    async with serving(keys, clock=clock) as reader:
        assert "No key is published at the moment" in words((await reader("GET", "/pgp/")).content)
        assert (await reader("GET", "/pgp/keys.asc")).status == 404
        assert (await reader("GET", f"{DIRECTORY}/policy")).status == 200


async def test_the_feed_key_is_found_where_the_service_alone_has_it(published: Published, clock: FakeClock) -> None:
    keys = PublishedKeys(None, duties=Duties(published.feed), extra=published.home.public(published.feed))
    await keys.load()
    async with serving(keys, clock=clock) as reader:
        assert (await reader("GET", f"/pgp/{published.feed}.asc")).status == 200
        said = words((await reader("GET", "/pgp/")).content)
        assert "3. Verify what the feed key signs" in said
        assert "Verify the warrant canary" not in said


async def test_where_one_way_to_the_keys_is_shown_one_is_spoken_of(published: Published, clock: FakeClock) -> None:
    keys = PublishedKeys(published.folder, duties=Duties(published.feed))
    await keys.load()
    async with serving(keys, clock=clock, site=replace(SITE, public_url="https://api.other.example")) as reader:
        said = words((await reader("GET", "/pgp/")).content)
    assert "That trusts this host" in said
    assert "Web Key Directory" not in said


async def test_security_txt_is_signed_by_the_feed_key(clock: FakeClock) -> None:
    with gpg.home() as service, socket_path() as socket:
        feed = service.make()
        async with signing(socket, service.path, feed):
            keys = PublishedKeys(None, duties=Duties(feed), extra=service.public(feed))
            await keys.load()
            contacts = Contacts(["mailto:security@nordbastion.example"])
            security = SecurityText(contacts, SITE.public_url, clock=clock, signer=Asking(socket))
            async with serving(keys, clock=clock, security=security) as reader:
                answer = await reader("GET", "/.well-known/security.txt")
                assert "security.txt" in (await reader("GET", "/pgp/")).content.decode()
                again = await reader("GET", "/.well-known/security.txt", If_None_Match=answer.headers["ETag"])
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert again.status == 304
    text, signer = gpg.sequoia_clear(answer.content, keys.keys[0].armored)
    assert signer == feed
    assert b"Contact: mailto:security@nordbastion.example" in text
    assert b"Encryption:" not in text
    assert b"Canonical: https://nordbastion.example/.well-known/security.txt" in text
