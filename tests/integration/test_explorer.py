"""The description and the page that shows it, served as they are to a browser: from here alone, and kept where kept."""

from __future__ import annotations

import gzip
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from publisher import profiles
from publisher.api import explorer
from publisher.api.openapi import document, encoded
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.serving import Said, Served

PROFILE = profiles.load("nordbastion")
DOCUMENT = document(PROFILE, "https://api.example.com")
ONION = f"http://{'a' * 56}.onion"
FOLDER = Path(explorer.__file__).parent
TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}


class Page(HTMLParser):
    """What a browser would load, and what it would run in place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.attributes: dict[str, dict[str, str | None]] = {}
        self._is_code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.attributes[tag] = given
        self._is_code = tag in {"script", "style"}
        source = given.get("src") or (given.get("href") if tag == "link" else None)
        if source is not None:
            self.loaded.append(source)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's signature
        self._is_code = False

    def handle_data(self, data: str) -> None:
        if self._is_code and data.strip():
            self.inline.append(data)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app = web.Application()
    app.add_routes(explorer.routes(DOCUMENT, PROFILE, ONION))
    async with serving(app) as made:
        yield made


async def ask(served: Served, path: str, *, method: str = "GET", **headers: str) -> Said:
    lines = [f"{method} {path} HTTP/1.1", "Host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return await served.ask("\r\n".join([*lines, "", ""]).encode())


async def head(served: Served, path: str, **headers: str) -> tuple[bytes, bytes]:
    """Ask for a head only, on a connection that ends with it; return the first line and what comes after the head."""
    given = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    async with served.line() as line:
        line.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{given}\r\n".encode())
        said, _, rest = (await line.rest()).partition(b"\r\n\r\n")
    return said, rest


async def page_of(served: Served) -> Page:
    return Page((await ask(served, "/v1/docs")).body.decode())


async def test_the_document_is_for_everybody(served: Served) -> None:
    said = await ask(served, "/v1/openapi.json")
    assert said.status == 200
    assert said.body == encoded(DOCUMENT)
    assert said.headers["Content-Type"] == "application/json"
    assert said.headers["Access-Control-Allow-Origin"] == "*"
    assert said.headers["Cache-Control"] == "public, max-age=300"
    assert orjson.loads(said.body)["openapi"].startswith("3.1.")


async def test_what_a_client_has_is_not_sent_again(served: Served) -> None:
    tags = set()
    for coding in ("identity", "gzip"):
        said = await ask(served, "/v1/openapi.json", Accept_Encoding=coding)
        tag = said.headers["ETag"]
        tags.add(tag)
        assert said.headers["Vary"] == "Accept-Encoding"
        for given in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            again = await ask(served, "/v1/openapi.json", If_None_Match=given, Accept_Encoding=coding)
            assert (again.status, again.body) == (304, b"")
            assert again.headers["ETag"] == tag
            assert again.headers["Cache-Control"] == said.headers["Cache-Control"]
        assert (await ask(served, "/v1/openapi.json", If_None_Match='"other"', Accept_Encoding=coding)).status == 200
    assert len(tags) == 2


async def test_a_tag_is_of_the_content(served: Served) -> None:
    other = web.Application()
    other.add_routes(explorer.routes({**DOCUMENT, "info": {}}, PROFILE))
    async with serving(other) as changed:
        for path, is_same in (("/v1/openapi.json", False), ("/v1/docs", True)):
            tags = [(await ask(each, path)).headers["ETag"] for each in (served, changed)]
            assert (tags[0] == tags[1]) is is_same


async def test_a_head_has_no_body(served: Served) -> None:
    for path in ("/v1/openapi.json", "/v1/docs"):
        whole = await ask(served, path)
        said, rest = await head(served, path)
        assert said.startswith(b"HTTP/1.1 200 ")
        assert f"Content-Length: {len(whole.body)}\r\n".encode() in said + b"\r\n"
        assert rest == b""


async def test_gzip_is_the_same_smaller(served: Served) -> None:
    plain = await ask(served, "/v1/openapi.json")
    packed = await ask(served, "/v1/openapi.json", Accept_Encoding="gzip, br")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 4


async def test_the_page_runs_nothing_in_place_and_loads_from_here_alone(served: Served) -> None:
    said = await ask(served, "/v1/docs")
    assert said.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in said.headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "font-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert said.headers["X-Frame-Options"] == "DENY"
    assert said.headers["Onion-Location"] == f"{ONION}/v1/docs"
    page = Page(said.body.decode())
    assert page.inline == []
    assert len(page.loaded) == 5
    for source in page.loaded:
        assert source == "data:," or re.fullmatch(r"docs/[0-9a-f]{16}/[a-z.-]+", source)


async def test_the_page_has_a_language_a_title_and_something_for_those_without_scripts(served: Served) -> None:
    said = await ask(served, "/v1/docs")
    page = Page(said.body.decode())
    assert page.attributes["html"]["lang"] == "en"
    assert b"<title>NordBastion API</title>" in said.body
    assert b'name="viewport"' in said.body
    without = re.search(rb"<noscript>(.*)</noscript>", said.body)
    assert without is not None
    assert b'<a href="openapi.json">' in without.group(1)
    assert page.attributes["main"]["data-document"] == "openapi.json"


async def test_its_files_are_kept_for_ever_under_a_path_of_their_content(served: Served) -> None:
    for source in (await page_of(served)).loaded:
        if source == "data:,":
            continue
        said = await ask(served, f"/v1/{source}")
        assert said.status == 200
        assert said.headers["Content-Type"] == TYPES[source.rpartition(".")[2]]
        assert said.headers["X-Content-Type-Options"] == "nosniff"
        assert said.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        again = await ask(served, f"/v1/{source}", If_None_Match=said.headers["ETag"])
        assert again.status == 304
    assert (await ask(served, "/v1/docs/0000000000000000/explorer.js")).status == 404


async def test_a_slash_too_many_is_forgiven(served: Served) -> None:
    said = await ask(served, "/v1/docs/")
    assert (said.status, said.headers["Location"]) == (308, "../docs")


async def test_without_an_onion_service_none_is_named() -> None:
    app = web.Application()
    app.add_routes(explorer.routes(DOCUMENT, PROFILE))
    async with serving(app) as made:
        assert "Onion-Location" not in (await ask(made, "/v1/docs")).headers


async def test_a_title_is_text() -> None:
    app = web.Application()
    app.add_routes(explorer.routes(DOCUMENT, PROFILE.model_copy(update={"title": "A <b> & $files"})))
    async with serving(app) as made:
        assert b"<title>A &lt;b&gt; &amp; $files</title>" in (await ask(made, "/v1/docs")).body


def test_the_files_of_others_are_those_the_readme_names() -> None:
    folder = FOLDER / "swagger_ui"
    listed = dict(re.findall(r"^\| `(.+)` \| `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.MULTILINE))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    del found["README.md"]
    assert found == listed
    assert {"LICENSE", "NOTICE"} <= found.keys()


def test_nobody_else_is_asked_about_the_document() -> None:
    assert "validatorUrl: null" in (FOLDER / "explorer.js").read_text()
