"""`/.well-known/security.txt` (RFC 9116): whom to tell of a weakness, signed with the feed key.

Its bytes change once a day, for it has to say until when it holds. The signature is kept as long. Where nobody can sign
it is served unsigned, which the RFC allows: who found a weakness has to find us too.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.clock import Clock

logger = logging.getLogger(__name__)

#: How long it holds; RFC 9116, 2.5.5 wants less than a year.
HOLDS = timedelta(days=30)
#: Seconds before a signer that was away is asked again.
PAUSE = 60.0


class ClearSigner(Protocol):
    """Signs with the feed key; raises when it cannot."""

    async def clearsign(self, content: bytes) -> bytes:
        """Return `content` as a clear-signed PGP message."""
        ...


@dataclass(frozen=True, slots=True)
class Contacts:
    """What a provider says: URIs, the best way first; languages as in `Accept-Language`.

    `encryption` is where a key is that one can encrypt to. The keys at `/pgp/` are not: they sign, and nothing else.
    """

    contact: Sequence[str]
    policy: str | None = None
    acknowledgments: str | None = None
    encryption: str | None = None
    languages: Sequence[str] = ()


class _Made(NamedTuple):
    text: bytes
    signed: bytes | None
    #: On the monotonic clock.
    again_at: float


def text(contacts: Contacts, public_url: str, now: datetime) -> bytes:
    """Return the file as it is on the day of `now`, unsigned. Pure."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    fields = [
        *(("Contact", each) for each in contacts.contact),
        ("Expires", f"{day + HOLDS:%Y-%m-%dT%H:%M:%SZ}"),
        ("Encryption", contacts.encryption),
        ("Acknowledgments", contacts.acknowledgments),
        ("Preferred-Languages", ", ".join(contacts.languages)),
        ("Canonical", f"{public_url}/.well-known/security.txt"),
        ("Policy", contacts.policy),
    ]
    return "".join(f"{name}: {value}\n" for name, value in fields if value).encode()


class SecurityText:
    """The file of today, signed where there is a signer."""

    def __init__(self, contacts: Contacts, public_url: str, *, clock: Clock, signer: ClearSigner | None = None) -> None:
        """`public_url` is without a slash at the end."""
        self._contacts = contacts
        self._public_url = public_url
        self._clock = clock
        self._signer = signer
        self._made: _Made | None = None
        self._turn = asyncio.Lock()

    async def content(self) -> bytes:
        """Return the file; it is signed once a day, by whoever comes first."""
        wanted = text(self._contacts, self._public_url, self._clock.now())
        if self._signer is None:
            return wanted
        async with self._turn:
            if not self._is_fresh(wanted):
                self._made = await self._sign(wanted, self._signer)
            assert self._made is not None  # noqa: S101 - made in the line above, or before
            return self._made.signed or self._made.text

    def _is_fresh(self, wanted: bytes) -> bool:
        made = self._made
        if made is None or made.text != wanted:
            return False
        return made.signed is not None or self._clock.monotonic() < made.again_at

    async def _sign(self, wanted: bytes, signer: ClearSigner) -> _Made:
        try:
            return _Made(wanted, await signer.clearsign(wanted), 0.0)
        except Exception as error:  # whatever it is, the text is what somebody came for
            logger.warning("security.txt is served unsigned (%s)", reason_of(error))
            return _Made(wanted, None, self._clock.monotonic() + PAUSE)
