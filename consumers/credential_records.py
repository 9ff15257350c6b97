"""A record of the credentials' topic -> the credential it grants, or its end, or why neither. Pure.

The key is the credential's id; the value is JSON, `{"kind": "api_key" | "session", "account", "secret_sha256",
"scopes", "cidrs", "expires_at", "tier", "audit", "client_cert_sha256"}`; no value (a tombstone) revokes. Unknown
members are ignored, and one that is null is one that is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from consumers.decode import ACCOUNT, InvalidRecordError, Reason, describe, schema_reason

if TYPE_CHECKING:
    from consumers.decode import Record

API_KEY, SESSION = "api_key", "session"

#: What a credential's id may be: it stands in keys that customers send, in tokens, and in names of counters.
_ID = re.compile(r"[A-Za-z0-9_.:@+/=~-]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: A scope as RFC 6749 has it, no longer than anybody would write one.
_WORD = re.compile(r"[!#-\[\]-~]{1,64}")
_MAPPED = IPv6Network("::ffff:0:0/96")
_LONGEST_LIST = 256

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Credential:
    """What the control plane says of one id; of a revoked one it says no more than that.

    `certificates` are the SHA-256 (lower-case hex) of client certificates one of which is needed, `networks` are
    where it may be used from; neither is a restriction while empty. `secret_sha256` is an API key's alone.
    """

    id: str
    is_revoked: bool = False
    kind: str = ""
    account: str = ""
    secret_sha256: bytes | None = field(default=None, repr=False)
    scopes: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    certificates: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    tier: str | None = None
    is_audited: bool = False


def is_id(text: str) -> bool:
    """Say whether `text` can be a credential's id at all."""
    return _ID.fullmatch(text) is not None


def network(text: str) -> Network:
    """Return a CIDR; one of IPv4 addresses mapped into IPv6 is the IPv4 one. Raises ValueError."""
    found = ip_network(text, strict=False)
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        return IPv4Network((int(found.network_address) & 0xFFFF_FFFF, found.prefixlen - _MAPPED.prefixlen))
    return found


def id_of(record: Record) -> str:
    """Return the id a record is about; raises `InvalidRecordError` where the key is none."""
    text = (record.key or b"").decode("ascii", "replace")
    if not is_id(text):
        raise InvalidRecordError(Reason.ENVELOPE, "the key is no credential id")
    return text


def decode(record: Record) -> Credential:
    """Return what a record says of its credential; raises `InvalidRecordError`, whose detail repeats no content."""
    credential_id = id_of(record)
    if record.value is None:
        return Credential(credential_id, is_revoked=True)
    try:
        value = _Value.model_validate_json(record.value)
    except ValidationError as error:
        raise InvalidRecordError(schema_reason(error), describe(error, "value")) from None
    return Credential(
        credential_id,
        kind=value.kind,
        account=value.account,
        secret_sha256=value.secret_sha256,
        scopes=frozenset(value.scopes or ()),
        networks=tuple(value.cidrs),
        certificates=frozenset(value.client_cert_sha256),
        expires_at=value.expires_at,
        tier=value.tier,
        is_audited=value.audit,
    )


def _matched(pattern: re.Pattern[str], what: str) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"is not {what}")
        return value

    return BeforeValidator(check)


def _digest(value: object) -> bytes:
    return bytes.fromhex(_hex_digest(value))


def _hex_digest(value: object) -> str:
    """Take hex in either case, with the colons some tools write."""
    text = value.replace(":", "").lower() if isinstance(value, str) else ""
    if not _SHA256.fullmatch(text):
        raise ValueError("is not a SHA-256 in hex")
    return text


def _network(value: object) -> Network:
    try:
        if isinstance(value, str):
            return network(value)
    except ValueError:  # whose text repeats the content
        pass
    raise ValueError("is not a CIDR")


def _moment(value: object) -> datetime:
    try:
        if isinstance(value, str) and (moment := datetime.fromisoformat(value)).tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("is not an ISO 8601 time with its zone")


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


Word = Annotated[str, _matched(_WORD, "a word")]


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", arbitrary_types_allowed=True)

    kind: Literal["api_key", "session"]
    account: Annotated[str, _matched(ACCOUNT, "an account id")]
    secret_sha256: Annotated[bytes, BeforeValidator(_digest)] | None = None
    scopes: Annotated[list[Word], Field(max_length=_LONGEST_LIST)] | None = None
    cidrs: Annotated[list[Annotated[Any, BeforeValidator(_network)]], Field(max_length=_LONGEST_LIST)] = []
    client_cert_sha256: Annotated[
        list[Annotated[str, BeforeValidator(_hex_digest)]],
        BeforeValidator(_one_or_more),
        Field(max_length=_LONGEST_LIST),
    ] = []
    expires_at: Annotated[datetime, BeforeValidator(_moment)] | None = None
    tier: Word | None = None
    audit: bool = False

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        given = {name: content for name, content in value.items() if content is not None}
        if given.get("kind") == SESSION:  # its token proves who it is
            given.pop("secret_sha256", None)
        return given

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == API_KEY and (self.secret_sha256 is None or self.scopes is None):
            raise ValueError("an api_key needs `secret_sha256` and `scopes`")
        return self
