"""What readers get the published keys by: a page, armored files, the Web Key Directory; and security.txt beside them.

All of it is made when the keys have changed, the page also when the day has (a key expires), and served from memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from feeds import keys as roles
from feeds.keys import Role
from feeds.pages import HTML, slashed
from feeds.pages.kept import Kept
from feeds.routes import NothingHereError, Route
from feeds.serving import Fixed
from signer import wkd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feeds.keys import Duties, PublishedKeys
    from feeds.pages import Site
    from feeds.routes import Handler
    from feeds.security_text import SecurityText
    from runtime.clock import Clock
    from signer.published import PublishedKey

K = TypeVar("K")

PAGE, ALL = "/pgp/", "keys.asc"
KEYS, BINARY, TEXT = "application/pgp-keys", "application/octet-stream", "text/plain; charset=utf-8"
WELL_KNOWN = "/.well-known/openpgpkey"
SECURITY = "/.well-known/security.txt"
#: Readers may come from any page; what is here is public.
OPEN = {
    hdrs.CACHE_CONTROL: "public, max-age=300",
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    "X-Content-Type-Options": "nosniff",
}


class KeyPages:
    """The page and the files, made of the keys as they are."""

    def __init__(self, keys: PublishedKeys, site: Site, *, clock: Clock, has_security: bool) -> None:
        """`has_security` says whether there is a security.txt to point to."""
        self._keys = keys
        self._site = site
        self._page = Kept(site, "keys.html")
        self._clock = clock
        self._has_security = has_security
        self._made_of: Sequence[PublishedKey] | None = None
        self._files: Mapping[str, Fixed] = {}
        self._directory: Mapping[tuple[str, str], Fixed] = {}

    async def page(self, request: web.Request) -> web.Response:
        """Answer with the page."""
        keys, now = self._keys.keys, self._clock.now()
        duties = self._keys.duties
        return self._page.answer(
            request,
            PAGE,
            lambda: {
                "keys": roles.shown(keys, duties, now),
                "threshold": duties.needed,
                "canary_count": len(duties.canary),
                "address": _address(keys, duties, host(self._site.public_url)),
                "has_security": self._has_security,
            },
            of=(keys,),
            at=now.date(),
        )

    async def file(self, request: web.Request) -> web.Response:
        """Answer with a key, or with all of them."""
        self._renew()
        return _found(self._files, request.match_info["name"]).answer(request)

    async def direct(self, request: web.Request) -> web.Response:
        """Answer with the key of an address at the host of the service's own URL."""
        return self._of_address(request, host(self._site.public_url))

    async def advanced(self, request: web.Request) -> web.Response:
        """Answer with the key of an address at the domain in the path."""
        return self._of_address(request, request.match_info["domain"].lower())

    async def policy(self, request: web.Request) -> web.Response:
        """Answer with no policy, for a domain that has keys here."""
        self._renew()
        domain = request.match_info["domain"].lower()
        if all(each != domain for each, _ in self._directory):
            raise NothingHereError
        return NO_POLICY.answer(request)

    def _of_address(self, request: web.Request, domain: str) -> web.Response:
        self._renew()
        return _found(self._directory, (domain, request.match_info["name"])).answer(request)

    def _renew(self) -> None:
        """Make the files anew if they are of other keys."""
        keys = self._keys.keys
        if self._made_of is keys:
            return
        duties = self._keys.duties
        ranked = roles.ranked(keys, duties)
        files = {f"{key.certificate.fingerprint}.asc": key.armored for _, key in ranked}
        if files:
            files[ALL] = b"".join(key.armored for _, key in ranked)
        self._files = {name: Fixed(content, KEYS, OPEN) for name, content in files.items()}
        self._directory = {
            name: Fixed(content, BINARY, OPEN, packs=False) for name, content in directory(keys, duties).items()
        }
        self._made_of = keys


def routes(keys: PublishedKeys, site: Site, *, clock: Clock, security: SecurityText | None = None) -> list[Route]:
    """Return the routes; below a provider's base path stands none of them."""
    pages = KeyPages(keys, site, clock=clock, has_security=security is not None)
    made = [
        _route(PAGE, pages.page, "keys", "The published PGP keys, as a page.", HTML),
        slashed(PAGE),
        _route(f"{PAGE}{{name}}", pages.file, "key-file", "A published key, or all of them, armored.", KEYS),
        _route(f"{WELL_KNOWN}/policy", _policy, "wkd-policy", "Web Key Directory: no policy.", TEXT),
        _route(
            f"{WELL_KNOWN}/hu/{{name}}", pages.direct, "wkd-key", "Web Key Directory: a key by its address.", BINARY
        ),
        _route(
            f"{WELL_KNOWN}/{{domain}}/policy", pages.policy, "wkd-domain-policy", "Web Key Directory: no policy.", TEXT
        ),
        _route(
            f"{WELL_KNOWN}/{{domain}}/hu/{{name}}",
            pages.advanced,
            "wkd-domain-key",
            "Web Key Directory: a key by its address at a domain.",
            BINARY,
        ),
    ]
    if security is not None:
        made.append(_route(SECURITY, _security(security), "security-txt", "Whom to tell of a weakness.", TEXT))
    return made


def directory(keys: Sequence[PublishedKey], duties: Duties) -> dict[tuple[str, str], bytes]:
    """Return the Web Key Directory: domain and name -> binary key, with the user IDs of that address alone. Pure.

    One key for each address: of several the one on top of the page, for the draft allows no second; revoked ones follow
    it, which the draft allows (section 3.1), so that whoever refreshes learns of it.
    """
    found: dict[tuple[str, str], list[PublishedKey]] = {}
    for _, key in roles.ranked(keys, duties):
        for place in sorted({each.place for each in roles.mailboxes(key)}):
            found.setdefault(place, []).append(key)
    made = {}
    for place, held in found.items():
        valid = [each for each in held if not each.certificate.is_revoked][:1]
        given = [*valid, *(each for each in held if each.certificate.is_revoked)]
        made[place] = b"".join(wkd.only(each.binary, place) for each in given)
    return made


def host(url: str) -> str:
    """Return the host of a URL, without its port."""
    return urlsplit(url).hostname or ""


def _address(keys: Sequence[PublishedKey], duties: Duties, domain: str) -> str | None:
    """Return an address the feed key is found by in the directory, None where there is none."""
    feed = next((key for role, key in roles.ranked(keys, duties) if role is Role.FEED), None)
    here = [each for each in roles.mailboxes(feed) if each.domain == domain] if feed else []
    return str(here[0]) if here else None


def _found(made: Mapping[K, Fixed], name: K) -> Fixed:
    fixed = made.get(name)
    if fixed is None:
        raise NothingHereError
    return fixed


def _route(path: str, handler: Handler, name: str, summary: str, content_type: str) -> Route:
    return Route(path, handler, name, summary, content_type, is_api=False)


NO_POLICY = Fixed(b"", TEXT, OPEN, packs=False)


async def _policy(request: web.Request) -> web.Response:
    return NO_POLICY.answer(request)


def _security(security: SecurityText) -> Handler:
    async def serve(request: web.Request) -> web.Response:
        return Fixed(await security.content(), TEXT, OPEN).answer(request)

    return serve
