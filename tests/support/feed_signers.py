"""What signs the feeds' documents in tests: the real signing process, or one that counts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from signer.client import SignerUnavailableError
from signer.protocol import PublicKey
from tests.support.signers import Asking, serving, socket_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support import gpg

PRIMARY = "A" * 40


@dataclass
class Counting:
    """Signs nothing anybody would believe; `away` is raised while it is set."""

    signed: list[bytes] = field(default_factory=list)
    away: Exception | None = None

    async def sign_document(self, content: bytes) -> bytes:
        if self.away is not None:
            raise self.away
        self.signed.append(content)
        return b"-----BEGIN PGP SIGNATURE-----\n"

    async def public_key(self) -> PublicKey:
        return PublicKey(b"", PRIMARY, PRIMARY, None)


def unavailable() -> SignerUnavailableError:
    return SignerUnavailableError("the signer did not answer")


@contextlib.asynccontextmanager
async def a_signer(home: gpg.Home, fingerprint: str) -> AsyncIterator[Asking]:
    """Run the signing process of a key in this one; yield a client."""
    with socket_path() as socket:
        async with serving(socket, home.path, fingerprint):
            yield Asking(socket)
