"""Canaries, signatures and proofs as files: read with their faults named, written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from publisher.cli.context import CommandError, CommandUsageError
from signer.statement import MAX_BYTES, Block, Document, Freshness, Headline, StatementError, first_fault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return what a file holds; raises `CommandUsageError` when it cannot be read or holds more than `most` bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise CommandUsageError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > most:
        raise CommandUsageError(f"{path}: is longer than {most} bytes")
    return content


def read_document(path: Path) -> Document:
    """Return a canary; raises `CommandError` when the file holds none."""
    try:
        return Document.read(read(path))
    except StatementError as error:
        raise CommandError(f"{path}: {error}") from None


def read_proofs(path: Path | None, block: str | None, headlines: Sequence[str]) -> Freshness:
    """Return the proofs of a file with those of the command line over and after it; raises `CommandUsageError`."""
    try:
        told = Freshness() if path is None else Freshness.model_validate_json(read(path))
    except ValidationError as error:
        raise CommandUsageError(f"--proofs: {path}: {first_fault(error)}") from None
    return Freshness(
        block=told.block if block is None else _block(block),
        headlines=(*told.headlines, *map(_headline, headlines)),
    )


def _block(text: str) -> Block:
    height, _, digest = text.partition(":")
    try:
        return Block(height=int(height), hash=digest)
    except ValueError:  # pydantic's is one too
        raise CommandUsageError(
            f"--block: {text!r} is not HEIGHT:HASH of a Bitcoin block, such as 840000:0000…1c0a with 64 digits"
        ) from None


def _headline(text: str) -> Headline:
    source, _, title = (part.strip() for part in text.partition(":"))
    try:
        return Headline(source=source, title=title)
    except ValidationError:
        raise CommandUsageError(f"--headline: {text!r} is not SOURCE: TITLE") from None


def signatures_beside(path: Path) -> list[Path]:
    """Return the signature files that stand beside a canary, by name."""
    pattern = glob.escape(path.name)
    return sorted({*path.parent.glob(f"{pattern}.asc"), *path.parent.glob(f"{pattern}.*.asc")})


def check_folder(option: str, path: Path) -> None:
    """Raise `CommandUsageError` for a folder nothing can be written to: before there is something to write."""
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        raise CommandUsageError(f"{option}: {path} is not a folder that can be written to")


def refuse_existing(path: Path) -> None:
    """Raise `CommandUsageError` when there is something at `path` already."""
    if os.path.lexists(path):
        raise CommandUsageError(f"{path}: is there already; move it away first")


def write_new(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file that was not there, whole or not at all; raises `CommandUsageError`, or `CommandError` with why."""
    refuse_existing(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror})") from None
