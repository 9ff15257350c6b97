"""The demo's canary: two signers with keys made on the spot, far from the service's keyring, and what they signed.

The demo plays the operator here, on one machine, with statements nobody affirmed. A real canary is drafted by a person,
offline: `heliograph canary draft`.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from feeds import canary_publishing, documents
from feeds.canary_events import updated
from feeds.documents import Feed
from publisher import profiles
from publisher.ids import Ids
from publisher.intake import fan_out_for_others
from signer.canary_draft import Answers, draft, read_statements
from signer.canary_judge import Pins
from signer.keymaking import KeyMaker
from signer.statement import Document, Freshness, Headline, moment_text

if TYPE_CHECKING:
    from random import Random

    from runtime.clock import Clock
    from runtime.database import Connection
    from runtime.settings import Settings

SIGNERS = ("Alice", "Bob")


@dataclass(frozen=True, slots=True)
class Signer:
    """One of them: the primary key, its home, and what signs for it."""

    fingerprint: str
    home: Path
    subkey: str
    public: bytes


class Signers:
    """Those who sign the demo's canary; a context manager, at the end of which their keys are gone."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is made yet."""
        self._clock = clock
        self._stack = contextlib.ExitStack()
        self._signers: list[Signer] = []

    async def __aenter__(self) -> Self:
        """Make their keys; raises `PgpError`."""
        try:
            self._signers = list(await asyncio.gather(*map(self._make, SIGNERS)))
        except BaseException:
            self._stack.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove their keys."""
        self._stack.close()

    def pinned(self, settings: Settings) -> Settings:
        """Return settings that pin these keys, whose public parts are put into the folder of public keys."""
        settings.require("public_keys")
        assert settings.public_keys is not None  # noqa: S101 - narrowed by require()
        for each in self._signers:
            (settings.public_keys / f"canary-{each.fingerprint[-16:]}.asc").write_bytes(each.public)
        keys = tuple(each.fingerprint for each in self._signers)
        return settings.model_copy(update={"canary_keys": keys, "canary_threshold": len(keys)})

    async def publish(self, connection: Connection, settings: Settings, rng: Random) -> dict[str, Any]:
        """Publish a canary they all have signed, as `canary publish` does; return the data of its `canary.updated`."""
        profile = profiles.load(settings.profile)
        newest = await documents.latest(connection, Feed.CANARY)
        answers = Answers(
            provider=profile.site.name if profile.site else profile.title,
            scope="A demonstration: nobody affirmed any of this",
            jurisdictions=("FI", "IS", "NO", "SE"),
            statements=read_statements(),
            signers=settings.canary_keys,
            threshold=len(settings.canary_keys),
            freshness=Freshness(
                headlines=(Headline(source="Demo", title=f"Begun at {moment_text(self._clock.now())}"),)
            ),
        )
        previous = Document.read(newest.content) if newest else None
        document = Document.of(draft(previous, answers, self._clock.now()))
        pins = Pins.of(settings)
        assert pins is not None  # noqa: S101 - `pinned` has seen to it
        base = f"{settings.public_url.rstrip('/')}{profile.base}/transparency/canary"
        made = await canary_publishing.publish(
            connection,
            document.content,
            {each.fingerprint: await _sign(each, document.content) for each in self._signers},
            pins=pins,
            acknowledged=(),
            clock=self._clock,
            announce=fan_out_for_others(settings, Ids(self._clock), rng, profile.events.types),
            source=settings.public_url,
            location=base,
        )
        return updated(made.published, made.statement, base).model_dump(mode="json")

    async def _make(self, name: str) -> Signer:
        home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-", ignore_cleanup_errors=True)))
        async with KeyMaker(home) as keyring:
            address = f"{name.lower()}@canary.example"
            fingerprint = await keyring.make(name, address, "1y", has_passphrase=False)
            exported = await keyring.export_for_service(fingerprint, self._clock.now())
            return Signer(fingerprint, home, exported.subkey, exported.public)


async def _sign(signer: Signer, content: bytes) -> bytes:
    async with KeyMaker(signer.home) as keyring:
        return await keyring.sign(content, signer.subkey)
