"""The pages people read: one frame, one style sheet, no script. They are rendered here and served by others.

`base.html` is the frame (header, navigation, footer) and `parts.html` what pages are built of. They work with no style
at all, in light and dark, on a phone and with a screen reader: headings in order, landmarks, a link that skips the
navigation, tables and lists as what they are, states in words and never in colour alone. A page's policy lets it load
its own style and icon and nothing else: no script, nothing inline, no other host.

Links are relative: all of it may be served below a path of somebody else's. `root` leads from a page to the site's
root: `../` from `/pgp/`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import hdrs
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feeds.routes import Route
from feeds.serving import Fixed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

FOLDER = Path(__file__).parent
HTML = "text/html; charset=utf-8"
FILES = {"site.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
#: Their path names their content, so they may be kept for ever.
DIGEST = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in FILES)).hexdigest()[:16]
ASSETS = f"/pages/{DIGEST}"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Seconds a page may be older than what it shows.
PAGE_AGE = 60
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

    def headers(self, path: str) -> dict[str, str]:
        """Return what every answer of the page at `path` has."""
        onion = {"Onion-Location": f"{self.onion_location.rstrip('/')}{path}"} if self.onion_location else {}
        return {
            hdrs.CACHE_CONTROL: f"public, max-age={PAGE_AGE}",
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            **onion,
        }

    def render(self, template: str, path: str, **values: object) -> Fixed:
        """Return the page at `path`, made of a template of this folder and what it is about."""
        root = "../" * (path.count("/") - 1) or "./"
        content = _TEMPLATES.get_template(template).render(
            site=self, path=path, root=root, assets=f"{root}{ASSETS.removeprefix('/')}", **values
        )
        return Fixed(content.encode(), HTML, self.headers(path))


def assets() -> list[Route]:
    """Return the routes of the style sheet and the icon."""
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


def day(moment: datetime) -> str:
    """Return a date as everybody reads it the same way: 1 November 2026."""
    return f"{moment.day} {moment:%B %Y}"


def grouped(fingerprint: str) -> list[str]:
    """Return a fingerprint in groups of four."""
    return [fingerprint[start : start + GROUP] for start in range(0, len(fingerprint), GROUP)]


_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"day": day, "grouped": grouped}
