"""The folder of public keys while the service runs: keys come, go and are revoked; what will not do changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from feeds.keys import Duties, PublishedKeys
from signer.faults import PgpError
from tests.support import gpg
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        made.make("One <one@provider.example>")
        made.make("Two <two@provider.example>")
        yield made


@pytest.fixture
def folder(home: gpg.Home, tmp_path: Path) -> Path:
    (tmp_path / "one.asc").write_bytes(home.public(home.fingerprints()[0]))
    return tmp_path


def fingerprints(keys: PublishedKeys) -> set[str]:
    return {each.certificate.fingerprint for each in keys.keys}


async def loaded(folder: Path) -> PublishedKeys:
    keys = PublishedKeys(folder, duties=Duties())
    await keys.load()
    return keys


async def test_keys_that_come_and_go_are_seen(home: gpg.Home, folder: Path) -> None:
    one, two = home.fingerprints()
    keys = await loaded(folder)
    assert fingerprints(keys) == {one}
    (folder / "two.asc").write_bytes(home.public(two))
    (folder / "notes.txt").write_text("no key")
    await keys.refresh()
    assert fingerprints(keys) == {one, two}
    (folder / "one.asc").unlink()
    await keys.refresh()
    assert fingerprints(keys) == {two}


async def test_nothing_is_read_again_where_nothing_has_changed(folder: Path) -> None:
    keys = await loaded(folder)
    before = keys.keys
    await keys.refresh()
    assert keys.keys is before


@pytest.mark.parametrize("is_in_place", [True, False])
async def test_a_file_replaced_within_one_tick_is_seen(home: gpg.Home, folder: Path, *, is_in_place: bool) -> None:
    """By its size where it was written over, by its inode where a copy of the same size was moved there."""
    path, was = folder / "one.asc", (folder / "one.asc").stat()
    keys = await loaded(folder)
    before = keys.keys
    if is_in_place:
        path.write_bytes(home.public(home.fingerprints()[1]) + b"\n")
    else:
        copy = folder / "copy"
        copy.write_bytes(path.read_bytes())
        shutil.move(copy, path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    await keys.refresh()
    assert keys.keys is not before


async def test_a_revocation_is_seen(folder: Path) -> None:
    with gpg.home() as own:
        key = own.make()
        (folder / "key.asc").write_bytes(own.public(key))
        keys = await loaded(folder)
        own.revoke(key)
        (folder / "key.asc").write_bytes(own.public(key))
    await keys.refresh()
    assert [each.certificate.is_revoked for each in keys.keys if each.certificate.fingerprint == key] == [True]


@pytest.mark.parametrize("kind", ["secret", "nonsense", "no folder"])
async def test_what_will_not_do_changes_nothing_and_is_logged_once(
    home: gpg.Home, folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = await loaded(folder)
    bad = folder / "bad.asc"
    if kind == "no folder":
        shutil.move(folder, folder.with_name("elsewhere"))
    else:
        bad.write_bytes(home.secret(home.fingerprints()[0]) if kind == "secret" else b"no key")
    with caplog.at_level(logging.WARNING, "feeds.keys"):
        await keys.refresh()
        await keys.refresh()
    assert len(keys.keys) == 1
    [said] = caplog.messages
    assert said.startswith("the public keys stay as they were: ")
    assert str(folder if kind == "no folder" else bad) in said
    if kind != "no folder":
        bad.unlink()
        await keys.refresh()
        bad.write_bytes(b"no key, again")
        await keys.refresh()
        assert len(caplog.messages) == 2


async def test_at_the_start_what_will_not_do_is_an_error(folder: Path) -> None:
    (folder / "bad.asc").write_bytes(b"no key")
    with pytest.raises(PgpError, match=r"bad\.asc"):
        await loaded(folder)


async def test_the_folder_and_the_signer_tell_of_one_key_together(home: gpg.Home, folder: Path) -> None:
    one, two = home.fingerprints()
    keys = PublishedKeys(folder, duties=Duties(one), extra=home.public(one) + home.public(two))
    await keys.load()
    assert fingerprints(keys) == {one, two}


async def test_it_looks_until_it_is_stopped(home: gpg.Home, folder: Path) -> None:
    keys = await loaded(folder)
    stop = asyncio.Event()
    looking = asyncio.create_task(keys.run(stop, every=0.01))
    (folder / "two.asc").write_bytes(home.public(home.fingerprints()[1]))

    async def both() -> bool:
        return len(keys.keys) == 2

    await until(both, "the second key is seen")
    stop.set()
    await looking
