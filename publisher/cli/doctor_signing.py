"""What `heliograph doctor` says of gpg, of what signs, and of the canary's keys."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from publisher.cli.finding import Finding
from publisher.preconditions import check_canary_keys
from publisher.roles import NotReadyError
from runtime.clock import SystemClock
from runtime.settings import SettingsError, variable
from signer import feed_key, published
from signer.client import SignerClient, SignerError
from signer.faults import GpgUnavailableError, PgpError
from signer.metrics import SignerMetrics
from signer.pgp import Keyring

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from runtime.settings import Settings

PATIENCE = 3.0
NOT_BEFORE = "the service does not start before that is mended"
#: Readers need a new key before the old one has expired.
EXPIRES_SOON = timedelta(days=30)


async def gpg(binary: str = "gpg") -> Finding:
    """Signatures are made and checked with gpg; it is looked at before the day it is needed."""
    try:
        async with Keyring(gpg=binary, deadline=PATIENCE) as keyring:
            return Finding("gpg", f"GnuPG {'.'.join(map(str, keyring.version))} at {keyring.binary}")
    except PgpError as error:
        return Finding("gpg", str(error), "install GnuPG 2.2.8 or newer (Debian: apt-get install gnupg)")


async def signing(settings: Settings) -> Finding:
    """Who signs feeds and answers, and until when."""
    try:
        if settings.feed_key is not None and settings.gnupghome is not None:
            signer, expires_at = await _own(settings, settings.gnupghome, settings.feed_key)
        elif settings.signer_socket is not None:
            signer, expires_at = await _asked(settings.signer_socket)
        else:
            return Finding("signing", f"nothing is signed: {variable('feed_key')} is not set")
    except PgpError as error:
        advice = f"correct {variable('gnupghome')} or {variable('feed_key')}; docs/keys.md says how a key comes there"
        return Finding("signing", str(error), advice)
    except SignerError as error:
        advice = f"start it (heliograph serve --role sign), or correct {variable('signer_socket')}"
        return Finding("signing", str(error), advice)
    detail = f"with {signer}, {f'until {expires_at:%Y-%m-%d}' if expires_at else 'which does not expire'}"
    is_ending = expires_at is not None and expires_at - SystemClock().now() < EXPIRES_SOON
    return Finding("signing", detail, "make its successor now: see docs/keys.md" if is_ending else "")


async def _own(settings: Settings, home: Path, fingerprint: str) -> tuple[str, datetime | None]:
    async with Keyring(home, deadline=PATIENCE, is_interactive=True) as keyring:  # a signer may be using its agent
        key = await feed_key.admit(keyring, fingerprint, settings.canary_keys, SystemClock().now())
        return key.signer, key.expires_at


async def _asked(socket: Path) -> tuple[str, datetime | None]:
    client = SignerClient(socket, metrics=SignerMetrics(CollectorRegistry()), clock=SystemClock(), timeout=PATIENCE)
    health = await client.health()
    return health.signer, health.expires_at


async def canary(settings: Settings) -> Finding:
    """Whose signatures a canary needs, and that none of them could be made here; and the folder of public keys."""
    try:
        pins = await check_canary_keys(settings)
        if pins is None:
            count = len(await published.read(settings.public_keys))
            return Finding("canary", f"no key is pinned: no canary can be published ({count} public keys are)")
    except (NotReadyError, SettingsError, GpgUnavailableError) as error:
        return Finding("canary", str(error), NOT_BEFORE)
    except PgpError as error:
        return Finding("canary", f"{variable('public_keys')}: {error}", NOT_BEFORE)
    return Finding("canary", f"{pins.threshold} of {len(pins.fingerprints)} keys must sign; none could here")
