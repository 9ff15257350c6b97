"""What gpg says about the signatures of a canary, each as a fact that a verdict can be made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signer.canary_check import Signed
from signer.faults import BadSignatureError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from signer.pgp import Keyring


async def read_signatures(
    keyring: Keyring, content: bytes, files: Mapping[str, bytes], *, at: datetime | None = None
) -> list[Signed]:
    """Judge each of `files` (name to bytes) over `content`, with keys as they are, or were `at` a moment.

    For an old canary, whose keys may have expired since, that is a moment after it was signed. A signature that is not
    good is a fact too. Raises `PgpError` when gpg cannot be asked.
    """
    found = []
    for name, blob in files.items():
        try:
            good = await keyring.verify(content, blob, at=at)
        except BadSignatureError as error:
            found.append(Signed(name, problem=str(error), is_revoked=error.reason is Reason.REVOKED_KEY))
        else:
            found.append(Signed(name, good.primary, good.signer, good.made_at))
    return found
