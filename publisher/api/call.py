"""What every route is made of: an `Operation` in the table, a `Call` that comes in, a `Reply` that goes out.

Handlers take a `Call` and return a `Reply`; headers, envelopes, pagination and limits are the pipeline's business,
and the profile's. So a handler reads the same for every provider.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pydantic import BaseModel

    from feeds.feed_watch import FeedWatch
    from publisher.api.connections import Connections
    from publisher.api.listing import Asked
    from publisher.delivery.tester import Tester
    from publisher.endpoints import Directory
    from publisher.ids import Ids
    from publisher.profiles import Profile
    from publisher.profiles.model import Fault, LimitClass
    from runtime.clock import Clock
    from runtime.database import Connection

    Handler = Callable[["Call"], Awaitable["Reply"]]


#: No account's name: those have letters or digits.
STRANGERS = ""


class Access(enum.StrEnum):
    """Who may call: anybody, or whoever has one of the scopes the profile names for it."""

    PUBLIC = "public"
    READ = "read"
    WRITE = "write"


class Mode(enum.Enum):
    """How an operation uses the database.

    READ has a connection. CHANGE has one in a transaction, which is also that of the Idempotency-Key. REMOTE has
    none, because it waits for somebody else's server, and no transaction may. MEMORY has none and needs none: it
    answers with what this process holds.
    """

    READ = enum.auto()
    CHANGE = enum.auto()
    REMOTE = enum.auto()
    MEMORY = enum.auto()


class Client(NamedTuple):
    """Who is at the other end: its address, and the SHA-256 (hex) of the certificate it proved to hold."""

    address: str
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a credential stands for. `kind` is `api_key` or `session`; `tier` is the credential's own word."""

    kind: str
    id: str
    account: str
    scopes: frozenset[str]
    tier: str | None = None
    is_audited: bool = False


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with; one for each process."""

    connections: Connections
    directory: Directory
    ids: Ids
    clock: Clock
    tester: Tester
    profile: Profile
    #: The newest documents of the feeds; None where they are not served.
    feeds: FeedWatch | None = None
    #: Told the event type and number of deliveries that were cancelled.
    on_cancelled: Callable[[str, int], None] = lambda _type, _count: None


@dataclass(slots=True, kw_only=True)
class Call:
    """A request that has been let in: its credential, its path, its checked query and body."""

    services: Services
    request_id: str
    path: Mapping[str, str]
    principal: Principal | None = None
    body: Any = None
    asked: Asked | None = None
    held: Connection | None = None
    #: Called once what the handler did is committed: what may not be counted before.
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    @property
    def account(self) -> str:
        """Whose data this call is about."""
        return self.caller.account

    @property
    def counted_for(self) -> str:
        """Whose share of the connections this call takes: its account's, or the one that all strangers have."""
        return self.principal.account if self.principal else STRANGERS

    @property
    def caller(self) -> Principal:
        """Who calls; an operation that is not public always has one."""
        assert self.principal is not None  # noqa: S101 - see above
        return self.principal

    @property
    def connection(self) -> Connection:
        """The database; an operation of `Mode.REMOTE` has to ask `services.connections` itself."""
        assert self.held is not None  # noqa: S101 - see above
        return self.held

    @property
    def query(self) -> Asked:
        """What a list is asked for; an operation with a `listing` always has it."""
        assert self.asked is not None  # noqa: S101 - see above
        return self.asked


@dataclass(frozen=True, slots=True)
class Items:
    """A page of a list and how many there are; `is_complete` is None for lists that always are.

    `anchor` are filters that keep the walk through the pages steady while new items come: the links to the other
    pages carry them.
    """

    items: Sequence[Mapping[str, Any]]
    total: int
    is_complete: bool | None = None
    anchor: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: one resource, a page of a list, or nothing (204). `location` is relative to the base."""

    item: Mapping[str, Any] | None = None
    items: Items | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What may be asked of a list.

    `filters` is a model of optional fields; `sorts` are field names, the first the default, `-` before it for
    descending order. Any field of the items may be chosen.
    """

    filters: type[BaseModel] | None = None
    sorts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route: what it does, who may call it, what it takes and answers. `path` is below the profile's base."""

    name: str
    method: str
    path: str
    summary: str
    handler: Handler
    access: Access
    counts_as: LimitClass
    mode: Mode
    status: int = 200
    description: str = ""
    body: type[BaseModel] | None = None
    is_body_optional: bool = False
    item: type[BaseModel] | None = None
    listing: Listing | None = None
    #: Faults it may end in, beside those that every operation of its kind may.
    faults: frozenset[Fault] = frozenset()
    #: Codes of these faults, for the documentation.
    codes: Sequence[str] = ()
