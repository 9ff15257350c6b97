"""What a profile may say, and what makes one broken. Shaped after the API pages of five providers.

They differ in where the key is sent (`Authorization: Bearer`, `x-api-token`), what a resource is wrapped in (nothing,
`{success, data}`), what an error is (an object, a list, a sentence), how lists are asked for (`page`/`per_page`,
`limit`/`offset`; `filter[field]=` or `field=`) and counted, and how much one may ask a minute.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from consumers.catalogue import CATALOGUE, prefixes
from publisher.profiles import templates

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
HeaderPrefix = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}-$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$")]
#: Where one can write to: RFC 9116, 2.5.3.
Contact = Annotated[str, StringConstraints(pattern=r"^(https://|mailto:|tel:)[!-~]+$")]
#: A subset of RFC 5646 that is enough for `en`, `pt-BR`, `zh-Hant`.
Language = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=60)]
Path = Annotated[str, StringConstraints(pattern=r"^(/[a-z0-9._~-]+)+$")]
Json = Any
Positive = Annotated[int, Field(ge=1)]

ITEM_VALUES = frozenset({"item"})
LIST_VALUES = frozenset(
    {"items", "page", "per_page", "total", "total_pages", "offset", "has_previous", "has_next", "is_complete"}
)
ERROR_VALUES = frozenset({"type", "code", "message", "status", "request_id", "doc_url", "field", "reason"})


class Fault(enum.StrEnum):
    """Every way a request can fail: a closed set, which a profile gives a status and a type each."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "timeout"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    CRASHED = "crashed"
    UNAVAILABLE = "unavailable"


class LimitClass(enum.StrEnum):
    """What a request counts as."""

    READ = "read"
    WRITE = "write"
    AUTH = "auth"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Carrier(_Part):
    """A header that carries a credential; `scheme` is the word before it, where there is one."""

    header: HeaderName
    scheme: Word | None = None


class Credentials(_Part):
    """How callers say who they are and what they may.

    `api_key_prefix` begins every key: `<prefix><credential id>_<secret>`. `read` and `write` name the scopes, any one
    of which is enough to look and to change.
    """

    carriers: Annotated[list[Carrier], Field(min_length=1)]
    api_key_prefix: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{2,30}_$")]
    scopes: Annotated[list[Word], Field(min_length=1)]
    read: Annotated[list[Word], Field(min_length=1)]
    write: Annotated[list[Word], Field(min_length=1)]

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = ({*self.read, *self.write}) - set(self.scopes)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: not among `scopes`")
        return self


class Headers(_Part):
    """Names of headers that are the provider's own; `webhook_prefix` begins those sent to receivers."""

    webhook_prefix: HeaderPrefix
    request_id: HeaderName = "X-Request-ID"
    idempotency_key: HeaderName = "Idempotency-Key"
    replayed: HeaderName = "Idempotency-Replayed"
    sign: HeaderName | None = None
    signature: HeaderName | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.sign is None) != (self.signature is None):
            raise ValueError("`sign` and `signature` go together")
        return self


class ErrorKind(_Part):
    """What one `Fault` looks like; `code` replaces the handler's own, finer one."""

    status: Annotated[int, Field(ge=400, le=599)]
    type: Word
    code: Word | None = None


class Errors(_Part):
    """The envelope of errors, filled with `ERROR_VALUES`, and a row for each `Fault`."""

    body: Json
    doc_url: Url
    kinds: dict[Fault, ErrorKind]

    @field_validator("kinds", mode="before")
    @classmethod
    def _faults(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        unknown = sorted(set(value) - set(Fault))
        missing = [fault.value for fault in Fault if fault.value not in value]
        if unknown or missing:
            raise ValueError(f"{', '.join(unknown or missing)}: {'no such kind' if unknown else 'missing'}")
        return {Fault(key): row for key, row in value.items()}

    @field_validator("body")
    @classmethod
    def _body(cls, value: Json) -> Json:
        return _template(value, ERROR_VALUES)


class Lists(_Part):
    """How lists are asked for and answered.

    `style` "page" counts pages from 1, "offset" items from 0. `filters` "bracket" is `filter[field]=`, "plain" is
    `field=`. `body` is filled with `LIST_VALUES`.
    """

    body: Json
    style: Literal["page", "offset"]
    position: Word
    size: Word
    default_size: Positive
    max_size: Positive
    filters: Literal["bracket", "plain"]
    fields: Word | None = "fields"
    sort: Word | None = "sort"

    @field_validator("body")
    @classmethod
    def _body(cls, value: Json) -> Json:
        return _template(value, LIST_VALUES, needed="items")

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.default_size > self.max_size:
            raise ValueError("`default_size` is more than `max_size`")
        return self


class Responses(_Part):
    """What a single resource is wrapped in; filled with `ITEM_VALUES`."""

    item: Json = "$item"

    @field_validator("item")
    @classmethod
    def _item(cls, value: Json) -> Json:
        return _template(value, ITEM_VALUES, needed="item")


class RateHeaders(_Part):
    """The headers in which a limit is told; `draft` adds `RateLimit` and `RateLimit-Policy` of the IETF's draft."""

    limit: HeaderName | None = "X-RateLimit-Limit"
    remaining: HeaderName | None = "X-RateLimit-Remaining"
    reset: HeaderName | None = "X-RateLimit-Reset"
    draft: bool = True


class Tier(_Part):
    """What a customer of a tier may: `rate` multiplies the limits, `webhooks` is how many endpoints."""

    rate: Annotated[float, Field(gt=0, le=1000)] = 1.0
    webhooks: Annotated[int, Field(ge=0, le=10_000)]


class Limits(_Part):
    """Requests per `window` seconds of each class; tiers by the credential's word, `default_tier` for any other."""

    window: Annotated[int, Field(ge=1, le=86_400)]
    classes: dict[LimitClass, Positive]
    headers: RateHeaders = RateHeaders()
    default_tier: Word
    tiers: dict[Word, Tier]

    @field_validator("classes", mode="before")
    @classmethod
    def _classes(cls, value: object) -> object:
        if not isinstance(value, dict) or set(value) != set(LimitClass):
            raise ValueError(f"must have exactly {', '.join(LimitClass)}")
        return {LimitClass(key): limit for key, limit in value.items()}

    @model_validator(mode="after")
    def _default(self) -> Self:
        if self.default_tier not in self.tiers:
            raise ValueError(f"`default_tier` {self.default_tier!r} is not among `tiers`")
        return self

    def tier(self, name: str | None) -> Tier:
        """Return a tier by the word in a credential; the default for one that is not known."""
        return self.tiers.get(name or self.default_tier, self.tiers[self.default_tier])


class Catalogue(_Part):
    """The events this provider publishes, as filters: `server.*`, exact names, `*`."""

    offered: Annotated[list[str], Field(min_length=1)] = ["*"]

    @field_validator("offered")
    @classmethod
    def _offered(cls, value: list[str]) -> list[str]:
        known = {selector for event_type in CATALOGUE for selector in prefixes(event_type)}
        for each in value:
            if each not in known:
                raise ValueError(f"{each!r} is no event type, no `type.*` and not `*`")
        return value

    @property
    def types(self) -> tuple[str, ...]:
        """The event types offered, in the order of the catalogue."""
        chosen = set(self.offered)
        return tuple(event_type for event_type in CATALOGUE if not chosen.isdisjoint(prefixes(event_type)))


class Deprecation(_Part):
    """An operation on its way out: told with `Deprecation`, `Sunset` and a `Link` on every answer of it."""

    operation: Word
    since: AwareDatetime
    sunset: AwareDatetime
    link: Url

    @field_validator("since", "sunset", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        return datetime.fromisoformat(value) if isinstance(value, str) else value


class Site(_Part):
    """Who the pages say they are of: the provider's name, and where its own site begins."""

    name: Line
    url: Url


class Security(_Part):
    """What `/.well-known/security.txt` says (RFC 9116): whom to tell of a weakness, best way first, and on what terms.

    `encryption` is where the key to write to them with is; the published ones do not encrypt.
    """

    contact: Annotated[list[Contact], Field(min_length=1)]
    policy: Url | None = None
    acknowledgments: Url | None = None
    encryption: Url | None = None
    languages: list[Language] = []


class Service(_Part):
    """A component: its id (below its bastion, `STO/compute`) and its name."""

    id: Word
    name: Line


class Bastion(_Part):
    """A place machines stand in: the code in events, its name, and the services that are components there."""

    code: Word
    name: Line
    services: Annotated[list[Service], Field(min_length=1)]


class Status(_Part):
    """What the status page shows before anything has reported: bastions with their services, and what they share."""

    bastions: list[Bastion] = []
    shared: list[Service] = []


class Profile(_Part):
    """A provider's house style; frozen, and complete once it is loaded."""

    name: Word
    title: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    docs_url: Url
    base: Path
    notice_days: Annotated[int, Field(ge=0)] = 365
    credentials: Credentials
    headers: Headers
    responses: Responses = Responses()
    errors: Errors
    lists: Lists
    limits: Limits
    events: Catalogue = Catalogue()
    deprecations: list[Deprecation] = []
    site: Site | None = None
    security: Security | None = None
    status: Status = Status()

    @model_validator(mode="after")
    def _notice(self) -> Self:
        for each in self.deprecations:
            if (each.sunset - each.since).days < self.notice_days:
                raise ValueError(
                    f"deprecations: {each.operation} ends {(each.sunset - each.since).days} days after its notice, "
                    f"not {self.notice_days}"
                )
        return self


def _template(value: Json, known: frozenset[str], *, needed: str | None = None) -> Json:
    asked = set(templates.names(value))
    if unknown := asked - known:
        raise ValueError(f"${min(unknown)} is no value (there is: {', '.join(f'${name}' for name in sorted(known))})")
    if needed and needed not in asked:
        raise ValueError(f"has no ${needed}")
    return value
