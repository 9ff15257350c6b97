"""The pages people read: one frame, one style sheet, one small script. They are rendered here and served by others.

`base.html` is the frame (header, navigation, footer) and `parts.html` what pages are built of. They work with no style
at all, in light and dark, on a phone and with a screen reader: headings in order, landmarks, a link that skips the
navigation, tables and lists as what they are, states in words and never in colour alone. A page's policy lets it load
its own style and icon and nothing else: nothing inline, no other host. Pages that change while one looks at them may
load the script too (`site.js`); it only saves a reload, and no page needs it.

All words stand in the templates, in `_()` and `trans`, so that the catalogues have them. What the control plane wrote
is English, as the feeds say too, and may be anything: it goes through `line` or `lines`, and through `cut` where there
may be much of it, so that a page stays small.

Links are relative: all of it may be served below a path of somebody else's. `root` leads from a page to the site's
root: `../` from `/pgp/`; `api` to the API's base path.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from aiohttp import hdrs, web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feeds import languages
from feeds.languages import DEFAULT, Language
from feeds.plain_text import cut, line, lines
from feeds.routes import Route
from feeds.serving import Fixed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

FOLDER = Path(__file__).parent
HTML = "text/html; charset=utf-8"
FILES = {
    "site.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "site.js": "text/javascript; charset=utf-8",
}
#: Their path names their content, so they may be kept for ever.
DIGEST = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in FILES)).hexdigest()[:16]
ASSETS = f"/pages/{DIGEST}"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Of a page that renews itself: it runs our script, which listens and reads from here alone.
LIVE_POLICY = f"{POLICY}; script-src 'self'; connect-src 'self'"
#: Of a page that one can search.
SEARCH_POLICY = POLICY.replace("form-action 'none'", "form-action 'self'")
#: Seconds a page may be older than what it shows; of one that people look at while something is wrong.
PAGE_AGE, LIVE_AGE = 60, 10
GROUP = 4


class Link(NamedTuple):
    """A place in the navigation; `path` is from the root of the service, such as `/pgp/`."""

    path: str
    label: str


@dataclass(frozen=True, slots=True)
class Site:
    """What all pages have in common: whose they are, where the service is, and where they lead."""

    name: str
    #: The provider's own site, an address.
    home: str
    #: Where this service is reached from outside, without a slash at the end.
    public_url: str
    #: The API's base path.
    base: str
    onion_location: str | None = None
    navigation: Sequence[Link] = ()

    def headers(self, path: str, *, policy: str = POLICY, age: int = PAGE_AGE) -> dict[str, str]:
        """Return what every answer of the page at `path` has."""
        onion = {"Onion-Location": f"{self.onion_location.rstrip('/')}{path}"} if self.onion_location else {}
        return {
            hdrs.CACHE_CONTROL: f"public, max-age={age}",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            **onion,
        }

    def render(
        self,
        template: str,
        path: str,
        *,
        language: Language = DEFAULT,
        policy: str = POLICY,
        age: int = PAGE_AGE,
        **values: object,
    ) -> Fixed:
        """Return the page at `path`, made of a template of this folder and what it is about."""
        root = "../" * (path.count("/") - 1) or "./"
        content = (
            _environment(language)
            .get_template(template)
            .render(
                site=self,
                path=path,
                root=root,
                api=f"{root}{self.base.strip('/')}",
                assets=f"{root}{ASSETS.removeprefix('/')}",
                language=language,
                is_live=policy == LIVE_POLICY,
                **values,
            )
        )
        headers = {**self.headers(path, policy=policy, age=age), hdrs.CONTENT_LANGUAGE: str(language)}
        return Fixed(content.encode(), HTML, headers)


def assets() -> list[Route]:
    """Return the routes of the style sheet, the icon and the script."""
    kept = {hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return [
        Route(
            f"{ASSETS}/{name}",
            Fixed((FOLDER / name).read_bytes(), content_type, kept).serve,
            f"page-{name.replace('.', '-')}",
            "What the pages look like.",
            content_type,
            is_api=False,
        )
        for name, content_type in FILES.items()
    ]


def slashed(path: str) -> Route:
    """Return the route that leads to the page at `path` whoever leaves out the slash at its end."""

    async def lead(_: web.Request) -> web.Response:
        return web.Response(status=308, headers={hdrs.LOCATION: f"{path.rstrip('/').rpartition('/')[2]}/"})

    name = path.strip("/").replace("/", "-")
    return Route(path.rstrip("/"), lead, f"{name}-redirect", "To the page, with its slash.", HTML, is_api=False)


def grouped(fingerprint: str) -> list[str]:
    """Return a fingerprint in groups of four."""
    return [fingerprint[start : start + GROUP] for start in range(0, len(fingerprint), GROUP)]


def segment(text: str) -> str:
    """Return text as one segment of a path: whatever is in it, it leads no further."""
    return quote(text, safe="").replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


def web_address(value: object) -> str:
    """Return an address that a link may lead to; empty for what is none, such as `javascript:`."""
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else ""


def _month(language: Language, first: datetime) -> str:
    return languages.day(first.replace(day=1), language).partition(" ")[2]


@functools.cache
def _environment(language: Language) -> Environment:
    """Return the templates as a language has them."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(languages.translations(language), newstyle=True)  # type: ignore[attr-defined]  # of the extension
    made.filters |= {
        "day": functools.partial(languages.day, language=language),
        "month": functools.partial(_month, language),
        "minute": functools.partial(languages.minute, language=language),
        "percent": functools.partial(languages.percent, language=language),
        "line": line,
        "lines": lines,
        "cut": cut,
        "grouped": grouped,
        "segment": segment,
        "web_address": web_address,
    }
    return made
