"""`heliograph verify` of webhooks as receivers save them, and each with something wrong in it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from publisher.delivery.request import headers as attempt_headers
from publisher.delivery.request import signature
from publisher.secrets import shown, shown_public
from tests.support.jobs import KEY, a_job, a_message
from tests.support.verifying import verified_json, verify

if TYPE_CHECKING:
    from pathlib import Path

OTHER = bytes(range(1, 33))
SEED = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
BODY = b'{"id":"msg_1","type":"server.deleted","timestamp":"2026-11-01T00:00:00Z","sequence":4,"data":{}}'
SENT = 1_793_491_200
AT = ("--at", "2026-11-01T00:02:00Z")


class Hook:
    """A webhook as its receiver saved it, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.body, self.headers, self.secret = folder / "body", folder / "headers", folder / "secret"
        self.body.write_bytes(BODY)
        self.secret.write_text(f"{shown(KEY)}\n")
        self.values = {"webhook-id": "msg_1", "webhook-timestamp": str(SENT)}
        self.sign(KEY)

    def sign(self, *secrets: bytes, signers: tuple[Ed25519PrivateKey, ...] = (), timestamp: int = SENT) -> None:
        self.values["webhook-timestamp"] = str(timestamp)
        self.write(**{"webhook-signature": signature(secrets or [KEY], "msg_1", timestamp, BODY, signers)})

    def write(self, **values: str) -> None:
        self.values |= values
        lines = [f"{name.title()}: {value}" for name, value in self.values.items()]
        self.headers.write_text("\n".join(["POST-Ignored: x", *lines]))

    @property
    def options(self) -> tuple[str, ...]:
        return (str(self.body), "--headers", str(self.headers), "--secret", str(self.secret), *AT)


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    return Hook(tmp_path)


def test_a_webhook_verifies_with_its_secret_and_without_gpg(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = verify(*hook.options, "--expect", "webhook")
    assert said == (
        0,
        [
            f"{hook.body}: webhook server.deleted",
            f"sha256 {hashlib.sha256(BODY).hexdigest()}",
            "webhook-id msg_1, timestamp 2026-11-01T00:00:00Z",
            "verified: v1 of 1 signatures",
        ],
        [],
    )
    read = verified_json(*hook.options)
    assert (read["id"], read["made_at"], read["signatures"]) == ("msg_1", "2026-11-01T00:00:00Z", ["v1"])


def test_the_public_library_agrees(hook: Hook) -> None:
    now = int(datetime.now(UTC).timestamp())
    hook.sign(KEY, timestamp=now)
    library = standardwebhooks.Webhook(shown(KEY))
    library.verify(BODY, hook.values)
    assert verify(*hook.options[:-2]).code == 0
    made = library.sign("msg_1", datetime.fromtimestamp(now, UTC), BODY.decode())
    hook.write(**{"webhook-signature": made})
    assert verify(*hook.options[:-2]).code == 0
    hook.body.write_bytes(BODY + b" ")
    assert verify(*hook.options[:-2]).faults == ["bad"]
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        library.verify(BODY + b" ", hook.values)


def test_the_secret_may_come_from_the_environment(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", shown(KEY))
    assert verify(*hook.options[:3], *AT).code == 0
    monkeypatch.setenv("WEBHOOK_SECRET", "hunter2")
    said = verify(*hook.options[:3], *AT)
    assert (said.code, said.stderr) == (2, ["heliograph: WEBHOOK_SECRET: line 1 is no whsec_… secret"])
    monkeypatch.delenv("WEBHOOK_SECRET")
    assert verify(*hook.options[:3], *AT).stderr == [
        "heliograph: a webhook is verified with --secret FILE, WEBHOOK_SECRET or --public-key whpk_…"
    ]


@pytest.mark.parametrize("text", ["", "hunter2", "whsec_aHVudGVyMg==", "whsec_hunter2!"])
def test_a_secret_that_is_none_is_not_repeated(hook: Hook, text: str) -> None:
    hook.secret.write_text(text)
    said = verify(*hook.options)
    assert (said.code, said.stdout, len(said.stderr)) == (2, [], 1)
    assert "hunter2" not in said.stderr[0]
    assert "aHVudGVyMg" not in said.stderr[0]


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        ({"webhook-id": "msg_2"}, ["bad"]),
        ({"webhook-timestamp": str(SENT + 1)}, ["bad"]),
        ({"webhook-signature": "v1,AAAA"}, ["bad"]),
        ({"webhook-signature": "v1,!"}, ["bad"]),
        ({"webhook-signature": "v1"}, ["bad"]),
        ({"webhook-signature": "v2,AAAA"}, ["no_signature"]),
        ({"webhook-signature": ","}, ["no_signature"]),
        ({"webhook-id": ""}, ["bad_header"]),
        ({"webhook-timestamp": "soon"}, ["bad_header"]),
        ({"webhook-timestamp": "-1"}, ["bad_header"]),
        ({"webhook-timestamp": "१७६७२२५६००"}, ["bad_header"]),
        ({"webhook-timestamp": "9" * 12}, ["bad_header"]),
        ({"webhook-timestamp": "9" * 11}, ["bad_timestamp", "bad"]),
    ],
)
def test_a_webhook_with_other_headers_is_not_verified(hook: Hook, values: dict[str, str], faults: list[str]) -> None:
    hook.write(**values)
    said = verify(*hook.options)
    assert (said.code, said.faults) == (1, faults)


def test_a_header_that_stands_twice_is_refused(hook: Hook) -> None:
    hook.headers.write_text(f"{hook.headers.read_text()}\nwebhook-id: msg_2\n")
    said = verify(*hook.options)
    assert (said.code, said.stderr) == (2, [f"heliograph: --headers: {hook.headers}: webhook-id stands there twice"])


@pytest.mark.parametrize(
    ("late", "is_good"), [(300, True), (301, False), (-300, True), (-301, False), (86_400 * 365, False)]
)
def test_a_timestamp_that_receivers_would_refuse_is_a_fault_unless_any_age_is_asked_for(
    hook: Hook,
    late: int,
    is_good: bool,  # noqa: FBT001 - of a table
) -> None:
    moment = (datetime.fromtimestamp(SENT, UTC) + timedelta(seconds=late)).isoformat()
    said = verify(*hook.options[:-2], "--at", moment)
    assert (said.code, said.faults) == ((0, []) if is_good else (1, ["bad_timestamp"]))
    if not is_good:
        taken = verify(*hook.options[:-2], "--at", moment, "--any-age")
        assert taken.code == 0
        assert any(line.startswith("note: its timestamp is ") for line in taken.stdout)


def test_during_a_rotation_either_secret_verifies(hook: Hook) -> None:
    hook.sign(OTHER, KEY)
    assert verify(*hook.options).verdict == "verified: v1 of 2 signatures"
    hook.secret.write_text(f"{shown(OTHER)}\n")
    assert verify(*hook.options).code == 0
    hook.sign(KEY)
    assert verify(*hook.options).faults == ["bad"]
    hook.secret.write_text(f"{shown(OTHER)}\n{shown(KEY)}\n")
    assert verify(*hook.options).code == 0


def test_a_public_key_proves_it_to_third_parties(hook: Hook) -> None:
    hook.sign(KEY, signers=(SEED,))
    mine = ("--public-key", shown_public(SEED.public_key().public_bytes_raw()))
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    public = (*hook.options[:3], *AT)
    assert verify(*public, *mine).verdict == "verified: v1a of 2 signatures"
    assert verify(*hook.options, *mine).verdict == "verified: v1 and v1a of 2 signatures"
    assert verify(*public, "--public-key", shown_public(stranger)).faults == ["bad"]
    assert verify(*hook.options, "--public-key", shown_public(stranger)).faults == ["bad"]
    assert verify(*public, "--public-key", shown_public(stranger), *mine).code == 0
    hook.sign(KEY)
    assert verify(*hook.options, *mine).faults == ["no_signature"]


def test_headers_of_the_delivery_log_are_read_as_they_are(hook: Hook) -> None:
    hook.headers.write_bytes(orjson.dumps(hook.values))
    assert verify(*hook.options).code == 0


def test_what_is_sent_is_what_verifies(hook: Hook) -> None:
    job = a_job(message=a_message(body=BODY))
    hook.headers.write_bytes(orjson.dumps(attempt_headers(job, SENT, "x-nb-")))
    assert verify(*hook.options).code == 0
