"""`X-NB-Sign` over HTTP with the real signing process: what comes back verifies with gpg and without it."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from typing import TYPE_CHECKING

import orjson
import psutil
import pytest

from signer.pgp import Keyring
from signer.process import stop_agents
from tests.support import gpg
from tests.support.api import running
from tests.support.process import until
from tests.support.signers import socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.settings import Settings
    from tests.support.api import Answer

NEW = {"url": "http://127.0.0.1:9/hooks", "events": ["server.*"]}
#: The lines of a clear-signed text are cut there by gpg.
CUT = 19_993


@pytest.fixture(scope="module")
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


@pytest.fixture(scope="module")
def fingerprint(home: gpg.Home) -> str:
    return home.make()


def agents_of(pid: int) -> list[int]:
    """Return the signing processes that are children of a process."""
    return [each.pid for each in psutil.Process(pid).children() if "signer.agent" in each.cmdline()]


def is_refused(answer: Answer) -> bool:
    return answer.status == 503 and answer.json["error"]["code"] == "signing_unavailable"


async def test_answers_come_clear_signed_or_with_their_signature(
    settings: Settings, home: gpg.Home, fingerprint: str
) -> None:
    certificate = home.public(fingerprint)
    async with (
        running(settings, "api", "sign", feed_key=fingerprint, gnupghome=str(home.path)) as service,
        Keyring() as keyring,
    ):
        await keyring.import_certificates(certificate)
        caller = service.caller()
        clear = await caller("POST", "/v1/webhooks", NEW, X_NB_Sign="1")
        assert (clear.status, clear.headers["Content-Type"]) == (201, "text/plain; charset=utf-8")
        text, made_by = await keyring.read_clearsigned(clear.content)
        webhook = orjson.loads(text)
        assert made_by.primary == fingerprint
        assert webhook["secret"].startswith("whsec_")
        assert gpg.sequoia_clear(clear.content, certificate)[1] == fingerprint

        for _ in range(30):
            assert (await caller("POST", "/v1/webhooks", NEW)).status in {201, 422}
        plain = await caller("GET", "/v1/webhooks?per_page=100")
        assert len(plain.content) > 2_000
        detached = await caller("GET", "/v1/webhooks?per_page=100", X_NB_Sign="detached")
        assert detached.content == plain.content
        digest = base64.b64encode(hashlib.sha256(detached.content).digest()).decode()
        assert detached.headers["Content-Digest"] == f"sha-256=:{digest}:"
        signature = base64.b64decode(detached.headers["X-NB-Signature"])
        assert (await keyring.verify(detached.content, signature)).primary == fingerprint
        assert gpg.sequoia_detached(detached.content, signature, certificate)[0] == fingerprint

        listed = await caller("GET", "/v1/webhooks?per_page=100", X_NB_Sign="1")
        text, _ = await keyring.read_clearsigned(listed.content)
        assert orjson.loads(text) == plain.json
        assert max(map(len, listed.content.split(b"\n"))) < CUT


async def test_what_is_read_counts_as_a_change_when_it_is_signed(
    settings: Settings, home: gpg.Home, fingerprint: str
) -> None:
    async with running(settings, "api", "sign", feed_key=fingerprint, gnupghome=str(home.path)) as service:
        caller = service.caller()
        plain = await caller("GET", "/v1/webhooks")
        signed = await caller("GET", "/v1/webhooks", X_NB_Sign="detached")
        assert [each.headers["X-RateLimit-Limit"] for each in (plain, signed)] == ["1000", "100"]


async def test_a_signer_that_was_killed_is_missed_only_until_it_is_back(
    settings: Settings, home: gpg.Home, fingerprint: str
) -> None:
    async with running(settings, "api", "sign", feed_key=fingerprint, gnupghome=str(home.path)) as service:
        [agent] = agents_of(os.getpid())
        caller = service.caller()
        os.kill(agent, signal.SIGKILL)

        async def answers() -> bool:
            answer = await caller("GET", "/v1/webhooks", X_NB_Sign="detached")
            assert answer.status == 200 or is_refused(answer)
            return answer.status == 200

        await until(answers, "the signer is back")
        assert agents_of(os.getpid()) != [agent]
    assert agents_of(os.getpid()) == []


async def test_nothing_is_done_when_its_answer_could_not_be_signed(settings: Settings) -> None:
    with socket_path() as nobody:
        async with running(settings, signer_socket=str(nobody)) as service:
            caller = service.caller()
            answer = await caller("POST", "/v1/webhooks", NEW, X_NB_Sign="1")
            assert is_refused(answer)
            assert int(answer.headers["Retry-After"]) > 0
            assert (await caller("GET", "/v1/webhooks")).json["meta"]["total"] == 0
            assert is_refused(await caller("GET", "/v1/webhooks", X_NB_Sign="detached"))


async def test_what_cannot_be_signed_is_not_done_though_the_signer_answers(
    settings: Settings, home: gpg.Home, fingerprint: str
) -> None:
    with gpg.home() as own:
        own.take(home.secret(fingerprint))
        changes = {"feed_key": fingerprint, "gnupghome": str(own.path)}
        async with running(settings, "api", "sign", **changes) as service:
            caller = service.caller()
            assert (await caller("POST", "/v1/webhooks", NEW, X_NB_Sign="1")).status == 201
            stop_agents(own.path)  # which has the key in its memory
            for path in (own.path / "private-keys-v1.d").iterdir():
                path.unlink()
            refused = await caller("POST", "/v1/webhooks", NEW, X_NB_Sign="1", Idempotency_Key="once")
            assert is_refused(refused)
            assert (await caller("GET", "/v1/webhooks")).json["meta"]["total"] == 1
            done = await caller("POST", "/v1/webhooks", NEW, Idempotency_Key="once")
            assert (done.status, done.headers.get("Idempotency-Replayed")) == (201, None)


async def test_a_repeated_request_is_answered_signed_though_it_was_not_the_first_time(
    settings: Settings, home: gpg.Home, fingerprint: str
) -> None:
    async with running(settings, "api", "sign", feed_key=fingerprint, gnupghome=str(home.path)) as service:
        caller = service.caller()
        first = await caller("POST", "/v1/webhooks", NEW, Idempotency_Key="once")
        again = await caller("POST", "/v1/webhooks", NEW, Idempotency_Key="once", X_NB_Sign="detached")
        assert again.headers["Idempotency-Replayed"] == "true"
        assert (again.content, bool(again.headers["X-NB-Signature"])) == (first.content, True)


async def test_a_process_asks_the_signer_that_another_one_runs(
    settings: Settings, home: gpg.Home, fingerprint: str
) -> None:
    with socket_path() as socket:
        changes = {"feed_key": fingerprint, "gnupghome": str(home.path), "signer_socket": str(socket)}
        async with running(settings, "api", "sign", **changes), running(settings, signer_socket=str(socket)) as other:
            answer = await other.caller()("GET", "/v1/webhooks", X_NB_Sign="detached")
            assert answer.status == 200
            assert answer.headers["X-NB-Signature"]
            assert len(agents_of(os.getpid())) == 1
