"""What cannot be meant is refused in one line that names it, with exit code 2, before anything is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher.__main__ import _global_options_first

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Command

ADD = ("webhook", "add", "--account", "acct_1", "--url")
ROTATE = ("webhook", "rotate", "we_1", "--account", "acct_1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such",), "No such command 'no-such'."),
        (("webhook", "no-such"), "No such command 'no-such'."),
        (("serve", "--no-such"), "No such option: --no-such"),
        (("serve", "surplus"), "Got unexpected extra argument"),
        (("serve", "--role", "no-such"), "Invalid value for '--role': 'no-such' is not one of 'consume', "),
        (("emit",), "Missing argument 'TYPE'."),
        (("emit", "server.deleted", "--count", "many"), "Invalid value for '--count'"),
        (("emit", "server.deleted", "--count", "-1"), "Invalid value for '--count'"),
        (("emit", "no.such"), "TYPE: 'no.such' is not an event type; there are account.balance.low, "),
        (("emit", "server.deleted", "--data", "{"), "--data: is not JSON"),
        (("emit", "server.deleted", "--data", "\udcff"), "--data: is not JSON"),
        (("emit", "server.deleted", "--data", "7"), "--data: must be a JSON object"),
        (("emit", "server.deleted", "--data", "{}"), "--data: data.order_number: "),
        (("emit", "server.deleted", "--data", "@/no/such"), "--data: /no/such cannot be read (No such file"),
        (("emit", "server.deleted", "--account", "no such"), "--account: is not an account id"),
        (("emit", "canary.updated", "--account", "acct_1"), "--account: is set on the public type"),
        (("emit", "server.deleted"), "HELIOGRAPH_KAFKA_BOOTSTRAP is not set ("),
        (("webhook", "add", "--url", "https://example.com/"), "Missing option '--account'."),
        ((*ADD, "https://example.com/", "--description", "x" * 257), "--description: must be at most 256 char"),
        ((*ADD, "http://example.com/"), "--url: must begin with https://"),
        ((*ADD, "https://10.0.0.1/"), "--url: this address is not called"),
        ((*ADD, "https://example.com/", "--event", "no.such"), "--event: 'no.such' is no event type"),
        ((*ADD, "https://example.com/", "--algorithm", "rsa"), "--algorithm: must be hmac-sha256 or ed25519"),
        ((*ADD, "https://example.com/", "--retries", "11"), "--retries: must be 0 to 10"),
        ((*ADD, "https://example.com/", "--window", "86401"), "--window: must be 1 to 86400 seconds"),
        ((*ADD, "https://example.com/", "--window", "60"), "--window: 4 attempts of up to 15 s do not fit"),
        (("webhook", "add", "--account", "a|b", "--url", "https://example.com/"), "--account: is not an account id"),
        ((*ADD, "https://example.com/"), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("webhook", "rotate", "--account", "acct_1"), "Missing argument 'ENDPOINT'."),
        ((*ROTATE, "--overlap", "604801"), "--overlap: must be 0 to 604800 seconds"),
        ((*ROTATE, "--overlap", "-1"), "--overlap: must be 0 to 604800 seconds"),
        (ROTATE, "HELIOGRAPH_DATABASE_URL is not set ("),
        (("webhook", "pause", "we_1"), "Missing option '--account'."),
        (("webhook", "pause", "we_1", "--account", "acct_1"), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("webhook", "enable", "we_1", "--account", "acct_1"), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("webhook", "remove", "we_1", "--account", "acct_1"), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("keys", "no-such"), "No such command 'no-such'."),
        (("keys", "rotate-secrets"), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("migrate",), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("config", "--config", "/no/such"), "/no/such: cannot be read (No such file"),
        (("config", "--config"), "Option '--config' requires an argument."),
    ],
)
def test_one_line_and_exit_code_2(heliograph: Command, arguments: tuple[str, ...], words: str) -> None:
    said = heliograph(*arguments)
    assert (said.code, said.stdout) == (2, ""), said
    assert said.stderr.startswith(f"heliograph: {words}"), said
    assert said.stderr.count("\n") == 1
    assert "Value error" not in said.stderr


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HELIOGRAPH_DATABASE_URL", "mysql://host/name", "must begin with postgresql://"),
        ("HELIOGRAPH_DATABASE_URL", "postgresql://u:hunter2#@host/name", "is not a URL ("),
        ("HELIOGRAPH_DATABASE_URL", "postgresql://u:hunter2@host:hunter2/name", "is not a URL ("),
        ("HELIOGRAPH_KAFKA_BOOTSTRAP", "localhost", "'localhost' is not host:port"),
        ("HELIOGRAPH_KAFKA_SSL_CAFILE", "/no/such", "Path does not point to a file"),
        ("HELIOGRAPH_SECRET_KEYS", "k1:hunter2", "key 'k1' is not the base64 of 32 bytes"),
        ("HELIOGRAPH_API_LISTEN", "8080", "'8080' is not host:port"),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_no_secret_repeated(
    heliograph: Command, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    for command in ("config", "serve"):
        said = heliograph(command)
        assert (said.code, said.stdout) == (2, "")
        assert said.stderr.startswith(f"heliograph: {variable}: {words}")
        assert said.stderr.count("\n") == 1
        assert "hunter2" not in said.stderr
    said = heliograph("doctor")
    assert (said.code, said.stderr) == (1, "")
    assert said.stdout.startswith(f"FAIL  settings  {variable}: {words}")
    assert "hunter2" not in said.stdout


def test_a_misspelt_setting_is_refused(heliograph: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_RETRYS", "3")
    said = heliograph("serve")
    meant = "HELIOGRAPH_RETRYS in the environment is not a setting; did you mean HELIOGRAPH_RETRIES?"
    assert said == (2, "", f"heliograph: {meant}\n")


@pytest.mark.parametrize(
    ("arguments", "shown"), [((), ()), (("--debug",), ()), (("--config", "x"), ()), (("webhook",), ("webhook",))]
)
def test_without_a_command_there_is_help(
    heliograph: Command, arguments: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    said = heliograph(*arguments)
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith(f"Usage: {' '.join(('heliograph', *shown))} ")
    assert said.stderr.strip() == heliograph(*shown, "--help").stdout.strip()


def test_every_command_has_help(heliograph: Command) -> None:
    listed = heliograph("--help").stdout.partition("Commands:\n")[2].splitlines()
    commands = [line.split()[0] for line in listed if line.strip()]
    assert {"serve", "migrate", "doctor", "config", "emit", "demo", "webhook", "keys"} <= set(commands)
    for command in commands:
        said = heliograph(command, "--help")
        assert said.code == 0
        assert said.stdout.startswith(f"Usage: heliograph {command} ")


@pytest.mark.parametrize(
    ("given", "sorted_"),
    [
        (["emit", "x", "--debug"], ["--debug", "emit", "x"]),
        (["config", "--config", "file"], ["--config", "file", "config"]),
        (["config", "--config=file"], ["--config=file", "config"]),
        (["config", "--config"], ["--config"]),
        (["emit", "x", "--", "--debug"], ["emit", "x", "--", "--debug"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], sorted_: list[str]) -> None:
    assert _global_options_first(given) == sorted_


def test_debug_shows_where(heliograph: Command) -> None:
    said = heliograph("emit", "no.such", "--debug")
    assert said.code == 2
    assert said.stderr.startswith("Traceback (most recent call last):\n")
    assert said.stderr.splitlines()[-1].startswith("heliograph: TYPE: 'no.such' ")


def test_config_reads_the_file_and_masks_what_is_secret(heliograph: Command, tmp_path: Path) -> None:
    file = tmp_path / "heliograph.toml"
    file.write_text('database_url = "postgresql://u:hunter2@host/name"\nkafka_sasl_password = "hunter2"\nretries = 7\n')
    said = heliograph("config", "--config", str(file))
    assert (said.code, said.stderr) == (0, "")
    assert "HELIOGRAPH_DATABASE_URL=postgresql://u:********@host/name  # default: unset; " in said.stdout
    assert "HELIOGRAPH_KAFKA_SASL_PASSWORD=********  # " in said.stdout
    assert "HELIOGRAPH_RETRIES=7  # default: 3; " in said.stdout
    assert "hunter2" not in said.stdout
