"""What a stranger verifies: keys of a provider, canaries that follow each other, and the command in this process.

Everything happens in 2024, by gpg's own word for the time; `--at` goes there.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from publisher.__main__ import run
from signer.statement import signature_name
from tests.support import canaries, gpg
from tests.support.gpg import FOREVER, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from signer.statement import Document

KEYS_MADE = datetime(2024, 1, 1, tzinfo=UTC)
ISSUED = (
    datetime(2024, 9, 2, 9, tzinfo=UTC),
    datetime(2024, 10, 1, 9, tzinfo=UTC),
    datetime(2024, 11, 1, 9, 30, tzinfo=UTC),
)
#: A day after the newest was issued.
AT = ("--at", "2024-11-02T09:30:00Z")


class Said(NamedTuple):
    """What a command answered; `stdout` and `stderr` are its lines."""

    code: int
    stdout: list[str]
    stderr: list[str]

    @property
    def verdict(self) -> str:
        return self.stdout[-1]

    @property
    def faults(self) -> list[str]:
        """The reasons alone."""
        return [line.split(": ")[1] for line in self.stdout if line.startswith("fault: ")]


def verify(*arguments: str | Path) -> Said:
    """Run `heliograph verify` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["verify", *map(str, arguments)])
    assert "Traceback" not in err.getvalue()
    assert "this is a bug" not in err.getvalue(), err.getvalue()
    return Said(code, out.getvalue().splitlines(), err.getvalue().splitlines())


def verified_json(*arguments: str | Path) -> dict[str, Any]:
    """Run it with `--json`; return what it prints."""
    said = verify(*arguments, "--json")
    read: dict[str, Any] = orjson.loads("\n".join(said.stdout))
    assert read["verified"] is (said.code == 0)
    return read


@dataclass(frozen=True)
class Provider:
    """Alice (a primary key that only certifies, and a subkey) and Bob sign canaries, `feed` documents; and Mallory."""

    home: Home
    alice: str
    subkey: str
    bob: str
    feed: str
    mallory: str

    def chain(self, **changes: Any) -> list[Document]:
        """Return three canaries, each after the other."""
        who = {"signers": (self.alice, self.bob), "threshold": 2} | changes
        made = [canaries.first(ISSUED[0], **who)]
        for moment in ISSUED[1:]:
            made.append(canaries.successor(made[-1], moment, **who))
        return made

    def signed(self, content: bytes, *keys: str, after: datetime = ISSUED[2]) -> dict[str, bytes]:
        """Sign with `keys`, or as a canary is; return signatures by the primary key's fingerprint."""
        moment = f"{after + timedelta(minutes=5):%Y%m%dT%H%M%S}"
        made = {key: self.home.sign(content, key=key, at=moment) for key in keys or (self.subkey, self.bob)}
        return {self.alice if key == self.subkey else key: blob for key, blob in made.items()}

    def publish(self, folder: Path, document: Document, name: str = "", *keys: str) -> Path:
        """Write a canary with its signatures beside it."""
        path = folder / (name or document.name)
        path.write_bytes(document.content)
        for key, blob in self.signed(document.content, *keys, after=document.statement.issued_at).items():
            path.with_name(signature_name(path.name, key)).write_bytes(blob)
        return path

    def keys(self, folder: Path, *fingerprints: str) -> Path:
        """Write a file of public keys, all of them when none is named."""
        named = fingerprints or (self.alice, self.bob, self.feed, self.mallory)
        path = folder / f"keys-{'-'.join(each[-4:] for each in named)}.asc"
        path.write_bytes(b"".join(map(self.home.public, named)))
        return path

    def canary_keys(self, folder: Path) -> tuple[str, ...]:
        """Return the options of somebody who has pinned Alice and Bob."""
        return ("--key", str(self.keys(folder)), "--key", self.alice, "--key", self.bob)

    def view(self, document: Document, **changes: object) -> bytes:
        """Return the page that shows a canary, or says otherwise."""
        statement = orjson.loads(document.content)
        signed = {
            "document": document.content.decode(),
            "sha256": document.sha256,
            "signatures": [
                {"fingerprint": key, "armored": blob.decode()} for key, blob in self.signed(document.content).items()
            ],
            "threshold": 2,
        }
        dates = {name: statement[name] for name in ("sequence", "issued_at", "next_due", "expires_at")}
        page = {"state": "current", "number": 3, **dates, "statement": statement, "signed": signed}
        return orjson.dumps(page | changes)


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """Make the keys."""
    made = f"{KEYS_MADE:%Y%m%dT%H%M%S}"
    with gpg.home() as home:
        alice = home.make("Alice <a@provider.example>", usage="cert", expires=FOREVER, at=made)
        subkey = home.add_subkey(alice, expires=FOREVER, at=made)
        others = [
            home.make(f"{name} <{name}@provider.example>", expires=FOREVER, at=made)
            for name in ("bob", "feed", "mallory")
        ]
        yield Provider(home, alice, subkey, *others)
