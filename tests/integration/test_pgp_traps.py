"""The nine traps of python-gnupg, each shown to be there and each stepped over."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import tempfile
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import gnupg
import pytest

from signer.pgp import (
    LONGEST_HOME,
    LONGEST_LINE,
    BadSignatureError,
    GpgUnavailableError,
    Keyring,
    NotClearSignableError,
    PgpError,
    Reason,
)
from signer.process import agents, stop_agents
from tests.support import gpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CONTENT = b'{"a":1}'
ROOT = Path(__file__).parents[2]


@pytest.fixture
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


@pytest.fixture
async def keyring(home: gpg.Home) -> AsyncIterator[Keyring]:
    async with Keyring(home.path) as opened:
        yield opened


async def reason_of(keyring: Keyring, content: bytes, signature: bytes) -> Reason:
    with pytest.raises(BadSignatureError) as caught:
        await keyring.verify(content, signature)
    return caught.value.reason


async def test_trap_1_a_key_that_cannot_sign_is_not_replaced_by_another(home: gpg.Home, keyring: Keyring) -> None:
    other = home.make("Other <other@provider.example>")
    expired = home.make("Expired <expired@provider.example>", expires="1d", at="20250101T000000")
    for asked in ("A" * 40, expired):
        trap = gnupg.GPG(gnupghome=str(home.path)).sign(CONTENT, keyid=asked, detach=True)
        assert (bool(trap), trap.fingerprint) == (True, other)
        with pytest.raises(PgpError, match=asked):
            await keyring.sign(CONTENT, asked)
        with pytest.raises(PgpError, match=asked):
            await keyring.clearsign(CONTENT, asked)


async def test_trap_1_a_subkey_does_not_sign_for_the_primary_key_that_was_asked_for(
    home: gpg.Home, keyring: Keyring
) -> None:
    primary = home.make()
    subkey = home.add_subkey(primary)
    for asked in (primary, subkey):
        assert (await keyring.verify(CONTENT, await keyring.sign(CONTENT, asked))).signer == asked


async def test_trap_2_a_good_signature_says_whose_it_is_and_an_expired_keys_is_none(
    home: gpg.Home, keyring: Keyring
) -> None:
    mine = home.make("Mine <a@provider.example>")
    theirs = home.make(
        "Mine <a@provider.example>", expires=gpg.FOREVER, at="20250101T000000"
    )  # only fingerprints differ
    assert (await keyring.verify(CONTENT, home.sign(CONTENT, key=theirs))).primary == theirs != mine

    expired = home.make("Expired <b@provider.example>", expires="1d", at="20250101T000000")
    signature = home.sign(CONTENT, key=expired, at="20250101T010000")
    path = home.path / "signature"
    path.write_bytes(signature)
    home.gpg("--verify", str(path), "-", content=CONTENT)  # gpg itself ends with 0
    assert await reason_of(keyring, CONTENT, signature) is Reason.EXPIRED_KEY


async def test_trap_3_two_signatures_in_one_file_are_none(home: gpg.Home, keyring: Keyring) -> None:
    good = home.sign(CONTENT, key=home.make("A <a@provider.example>"))
    also = home.sign(CONTENT, key=home.make("B <b@provider.example>"))
    with gpg.home() as elsewhere:
        unknown = elsewhere.sign(CONTENT, key=elsewhere.make("C <c@provider.example>"))
    bad = home.sign(b"another", key=home.fingerprints()[0])
    for second in (good, also, unknown, bad):
        # Of packets in a row gpg reads none after a bad one; those of files in a row are counted before it looks.
        expected = {Reason.SEVERAL_SIGNATURES} | ({Reason.BAD} if second is bad else set())
        for first, last in ((good, second), (second, good)):
            assert await reason_of(keyring, CONTENT, first + last) is Reason.SEVERAL_SIGNATURES
            packets = home.gpg("--dearmor", content=first) + home.gpg("--dearmor", content=last)
            assert await reason_of(keyring, CONTENT, packets) in expected
            armored = home.gpg("--enarmor", content=packets).replace(b"ARMORED FILE", b"SIGNATURE")
            assert await reason_of(keyring, CONTENT, armored) in expected


async def test_trap_4_of_a_clear_signed_document_only_what_gpg_reads_counts(home: gpg.Home, keyring: Keyring) -> None:
    fingerprint = home.make()
    text = b'{"a": 1}\n- and a line with a dash\n'
    document = await keyring.clearsign(text, fingerprint)
    content, found = await keyring.read_clearsigned(document)
    assert (content, found.primary) == (text, fingerprint)

    for around in (
        b"Pay them!\n\n" + document,
        document + b"Pay them!\n",
        document.replace(b"\n", b"\r\n"),
        document.replace(b"dash\n", b"dash \t\n"),
    ):
        content, _ = await keyring.read_clearsigned(around)
        assert content.replace(b"\r\n", b"\n") == text

    for changed in (
        document.replace(b'"a": 1', b'"a": 2'),
        document + document,
        document.replace(b"-----BEGIN PGP SIGNED", b"x----BEGIN PGP SIGNED"),
        text,
        home.sign(text, "--armor", "--sign", key=fingerprint),
        b"-----BEGIN PGP SIGNED MESSAGE-----\n" + home.sign(text, "--armor", "--sign", key=fingerprint),
    ):
        with pytest.raises(BadSignatureError):
            await keyring.read_clearsigned(changed)


@pytest.mark.parametrize("content", [b"blank \n", b"tab\t", b"a\r\nb\n", b" ", b"x" * (LONGEST_LINE + 1)])
async def test_trap_4_a_text_that_clear_signing_does_not_hold_fast_is_refused(
    home: gpg.Home, keyring: Keyring, content: bytes
) -> None:
    fingerprint = home.make()
    with pytest.raises(NotClearSignableError):
        await keyring.clearsign(content, fingerprint)
    document = home.sign(content, "--clearsign", key=fingerprint)
    read = home.gpg("--decrypt", content=document.replace(b"\r", b""))  # the signature is good, says gpg
    assert read.removesuffix(b"\n") != content.removesuffix(b"\n")


async def test_trap_4_a_lone_carriage_return_is_refused(home: gpg.Home, keyring: Keyring) -> None:
    with pytest.raises(NotClearSignableError):
        await keyring.clearsign(b"a\rb", home.make())


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"{}\n", b"\n\n", b"x" * LONGEST_LINE, b" a\n- b\n-----BEGIN PGP\nFrom x"]
)
async def test_trap_4_any_other_text_comes_out_as_it_went_in(home: gpg.Home, keyring: Keyring, content: bytes) -> None:
    document = await keyring.clearsign(content, home.make())
    read, _ = await keyring.read_clearsigned(document)
    assert read == (content if content.endswith(b"\n") else content + b"\n")


async def test_trap_5_bytes_and_names_are_not_taken_for_latin_1(home: gpg.Home, keyring: Keyring) -> None:
    # As latin-1 these user IDs hold line ends, and the second looks like a record of its own.
    for name in ("Ålesund Ж <a@provider.example>", "Åfpr <b@provider.example>"):
        fingerprint = home.make(name)
        content = "Å\x85\u2028é".encode()
        found = await keyring.verify(content, await keyring.sign(content, fingerprint))
        assert found.primary == fingerprint
        known = {each.fingerprint: each.user_ids for each in await keyring.certificates()}
        assert known[fingerprint] == (name,)


async def test_trap_6_the_loop_goes_on_while_gpg_works(home: gpg.Home, keyring: Keyring) -> None:
    fingerprint = home.make()
    main = threading.get_ident()
    called_on: list[int] = []
    opened = keyring._gpg
    real = opened.make_args

    def watched(*arguments: object) -> list[str]:
        called_on.append(threading.get_ident())
        made: list[str] = real(*arguments)
        return made

    opened.make_args = watched
    turns = 0
    signing = asyncio.create_task(keyring.sign(CONTENT, fingerprint))
    while not signing.done():
        turns += 1
        await asyncio.sleep(0)
    await signing
    assert turns > 10
    assert called_on
    assert main not in called_on


async def test_trap_7_a_home_whose_agent_could_not_listen_or_that_others_can_read_is_refused(home: gpg.Home) -> None:
    long = home.path / ("x" * (LONGEST_HOME - len(str(home.path))))
    long.mkdir(mode=0o700)
    with pytest.raises(PgpError, match=f"more than {LONGEST_HOME} bytes"):
        async with Keyring(long):
            pass
    fits = home.path / ("y" * (LONGEST_HOME - len(str(home.path)) - 1))
    fits.mkdir(mode=0o700)
    kept = gpg.Home(fits)
    fingerprint = kept.make()
    try:
        async with Keyring(fits) as keyring:
            assert await keyring.sign(CONTENT, fingerprint)
            assert agents(fits)
        assert agents(fits) == []
    finally:
        stop_agents(fits)
    for mode in (0o750, 0o701, 0o777):
        fits.chmod(mode)
        with pytest.raises(PgpError, match=f"chmod 700 {fits}"):
            async with Keyring(fits):
                pass


async def test_trap_7_a_private_home_is_short_whatever_the_temporary_folder(
    home: gpg.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = home.path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    async with Keyring() as keyring:
        assert len(str(keyring.home)) <= LONGEST_HOME
        assert keyring.home.stat().st_mode & 0o777 == 0o700
        assert list(long.iterdir()) == []


@pytest.mark.parametrize(
    "argument",
    ["--output=x", "x" * 40, "", "A" * 40 + "!", "A" * 40 + " --yes", "feed@provider.example", "0x" + "A" * 40],
)
async def test_trap_8_nothing_but_a_fingerprint_becomes_an_argument(keyring: Keyring, argument: str) -> None:
    for call in (
        keyring.sign(CONTENT, argument),
        keyring.clearsign(CONTENT, argument),
        keyring.export(argument, armored=True),
    ):
        with pytest.raises(PgpError, match="40 hex digits"):
            await call


async def test_trap_8_a_key_with_a_passphrase_does_not_sign_and_nobody_is_asked_for_it(
    home: gpg.Home, tmp_path: Path
) -> None:
    asking = tmp_path / "pinentry"
    asking.write_text("#!/bin/sh\nexec sleep 1000\n")
    asking.chmod(0o700)
    (home.path / "gpg-agent.conf").write_text(f"pinentry-program {asking}\n")
    secretly = ("--pinentry-mode", "loopback", "--passphrase", "right")
    home.gpg(*secretly, "--quick-generate-key", gpg.NAME, "ed25519", "sign", "1y")
    [fingerprint] = home.fingerprints()
    stop_agents(home.path)
    async with Keyring(home.path, deadline=2) as keyring:
        with pytest.raises(PgpError, match=fingerprint) as caught:
            await keyring.sign(CONTENT, fingerprint)
        assert not isinstance(caught.value, GpgUnavailableError)


def test_trap_9_the_library_is_python_gnupg_and_not_gnupg() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {requirement.split(">")[0].split("=")[0].split("[")[0].strip() for requirement in declared}
    assert "python-gnupg" in names
    assert "gnupg" not in names
    assert importlib.metadata.version("python-gnupg") == gnupg.__version__
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("gnupg")


async def test_nothing_of_what_is_signed_or_printed_reaches_a_log(
    home: gpg.Home, keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = home.make()
    with caplog.at_level(logging.DEBUG):
        signature = await keyring.sign(b"a customer's secret", fingerprint)
        await keyring.verify(b"a customer's secret", signature)
        await reason_of(keyring, b"another customer's secret" * 10_000, b"\x80junk")
        await keyring.import_certificates(home.public(fingerprint))
    assert [record for record in caplog.records if record.name != "asyncio"] == []
