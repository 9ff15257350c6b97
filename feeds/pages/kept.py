"""Pages are rendered once for what they are made of, in each language, and kept until that is something else.

request -> language -> kept?  --no-->  values -> template -> kept -> ETag, 304, HEAD, gzip
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from feeds import languages
from feeds.pages import PAGE_AGE, POLICY

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from aiohttp import web

    from feeds.languages import Language
    from feeds.pages import Site
    from feeds.serving import Fixed

#: `Fixed` says the first half by itself; here both are true.
VARY = f"{hdrs.ACCEPT_ENCODING}, {hdrs.ACCEPT_LANGUAGE}"
#: Pages of one template: of the newest thousand incidents few are read, and strangers choose what is searched for.
MOST = 64


class Kept:
    """The pages of a template."""

    def __init__(self, site: Site, template: str, *, policy: str = POLICY, age: int = PAGE_AGE) -> None:
        """`policy` and `age` are those of `Site.render`."""
        self._site = site
        self._template = template
        self._policy = policy
        self._age = age
        self._of: Sequence[object] = ()
        self._at: Hashable = None
        self._made: dict[tuple[str, Hashable, Language], Fixed] = {}

    def answer(
        self,
        request: web.Request,
        path: str,
        values: Callable[[], Mapping[str, object]],
        *,
        of: Sequence[object] = (),
        at: Hashable = None,
        asked: Hashable = None,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        """Answer with the page at `path`.

        It is made of `of`, which is the same for as long as its parts are the same objects, and of `at`, which is
        compared. `asked` tells pages of one path apart. `headers` are those of this answer alone.
        """
        if at != self._at or len(of) != len(self._of) or any(new is not old for new, old in zip(of, self._of)):  # noqa: B905 - of one length
            self._made.clear()
            self._of, self._at = tuple(of), at
        language = languages.choose(request.headers.get(hdrs.ACCEPT_LANGUAGE))
        key = path, asked, language
        fixed = self._made.get(key)
        if fixed is None:
            while len(self._made) >= MOST:
                del self._made[next(iter(self._made))]
            fixed = self._made[key] = self._site.render(
                self._template, path, language=language, policy=self._policy, age=self._age, **values()
            )
        return fixed.answer(request, {hdrs.VARY: VARY, **(headers or {})})
