"""Served from files of our own: the document that describes the API, and a page to read and try it with.

The page is Swagger UI (`swagger_ui/`, unchanged) and three small files. Its policy lets it load from here alone: no
other host learns who reads it, and nothing inline runs. Files stand below a path that names their content, so they
may be kept for ever.
"""

from __future__ import annotations

import hashlib
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from feeds.serving import Fixed
from publisher.api.openapi import DOCS, OPENAPI, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publisher.profiles import Profile

FOLDER = Path(__file__).parent
JAVASCRIPT, STYLES = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
FILES: Mapping[str, tuple[Path, str]] = {
    "swagger-ui-bundle.js": (FOLDER / "swagger_ui", JAVASCRIPT),
    "swagger-ui.css": (FOLDER / "swagger_ui", STYLES),
    "explorer.js": (FOLDER, JAVASCRIPT),
    "explorer.css": (FOLDER, STYLES),
}
#: Styles alone may be inline: Swagger UI sets them on elements.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: Seconds a description may be older than the service.
DOCUMENT_AGE = 300


def routes(document: Mapping[str, Any], profile: Profile, onion_location: str | None = None) -> list[web.RouteDef]:
    """Return the routes of the document, the page and its files; `onion_location` is the onion service's URL."""
    contents = {name: (folder / name).read_bytes() for name, (folder, _) in FILES.items()}
    digest = hashlib.sha256(b"".join(contents.values())).hexdigest()[:16]
    kept: Mapping[str, str] = {hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable"}
    described = Fixed(
        encoded(document),
        "application/json",
        {
            hdrs.CACHE_CONTROL: f"public, max-age={DOCUMENT_AGE}",
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
        },
    )
    page = Fixed(_page(profile, digest), "text/html; charset=utf-8", _page_headers(profile, onion_location))
    made = [web.get(profile.base + OPENAPI, described.serve), web.get(profile.base + DOCS, page.serve)]
    made.append(web.get(f"{profile.base}{DOCS}/", _without_slash))
    for name, content in contents.items():
        made.append(web.get(f"{profile.base}{DOCS}/{digest}/{name}", Fixed(content, FILES[name][1], kept).serve))
    return made


async def _without_slash(_: web.Request) -> web.Response:
    return web.Response(status=308, headers={hdrs.LOCATION: f"..{DOCS}"})


def _page(profile: Profile, digest: str) -> bytes:
    """Return the page. Links are relative: it may be served below a path of somebody else's."""
    template = Template((FOLDER / "page.html").read_text(encoding="utf-8"))
    values = {
        "title": profile.title,
        "document": OPENAPI.removeprefix("/"),
        "docs_url": profile.docs_url,
        "files": f"{DOCS.removeprefix('/')}/{digest}",
    }
    return template.substitute({name: escape(value) for name, value in values.items()}).encode()


def _page_headers(profile: Profile, onion_location: str | None) -> dict[str, str]:
    onion = {"Onion-Location": f"{onion_location.rstrip('/')}{profile.base}{DOCS}"} if onion_location else {}
    return {
        hdrs.CACHE_CONTROL: "no-cache",
        "Content-Security-Policy": POLICY,
        **onion,
    }
