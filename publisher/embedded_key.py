"""A feed key made on the spot for `--embedded` and the demo: real signatures, by a key that nobody knows beforehand.

With DATA_DIR it is kept there, and so are the public keys of all runs. For anything but trying out, `heliograph keys
init` makes one whose primary part the service never sees.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from publisher import profiles
from runtime.clock import SystemClock
from signer import certificates
from signer.faults import PgpError
from signer.keymaking import KeyMaker
from signer.pgp import LONGEST_HOME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings

EXPIRES = "2y"


@contextlib.asynccontextmanager
async def embedded_key(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Yield the settings of a feed key for the length of the context; none where the settings name a key, or a signer.

    Raises `PgpError` without gpg.
    """
    if settings.feed_key is not None or settings.signer_socket is not None:
        yield {}
        return
    with contextlib.ExitStack() as stack:
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-", ignore_cleanup_errors=True)))
        kept = settings.data_dir.expanduser().resolve() if settings.data_dir else private
        home, keys = kept / "gnupg", kept / "keys"
        if len(str(home)) > LONGEST_HOME:  # an agent could not listen there; the next run makes another key
            home = private / "gnupg"
        for folder in (home, keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fingerprint = await _key_of(home, keys, settings)
        public = {} if settings.public_keys else {"public_keys": keys}
        yield {"feed_key": fingerprint, "gnupghome": home, **public}


async def _key_of(home: Path, keys: Path, settings: Settings) -> str:
    """Return the key of a keyring, or make it."""
    now = SystemClock().now()
    async with KeyMaker(home) as maker:
        secrets = await maker.secret_fingerprints()
        for certificate in await maker.certificates():
            with contextlib.suppress(PgpError):
                certificates.signing_key(certificate, certificate.fingerprint, secrets, now)
                return certificate.fingerprint
        host = urlsplit(settings.public_url).hostname or "localhost"
        profile = profiles.load(settings.profile)
        name = profile.site.name if profile.site else profile.title
        fingerprint = await maker.make(f"{name} feeds", f"feeds@{host}", EXPIRES, has_passphrase=False)
        await maker.drop_primary(fingerprint)
        (keys / f"feed-{fingerprint[-16:]}.asc").write_bytes(await maker.export(fingerprint, armored=True))
        return fingerprint
