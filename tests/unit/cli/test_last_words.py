"""An error is one line and an exit code, whatever it is."""

from __future__ import annotations

import asyncpg
import pytest
import typer

from publisher import __main__ as main
from publisher.cli.context import CommandError, CommandUsageError
from publisher.roles import NotReadyError
from publisher.secrets import SealError
from runtime.embedded import EmbeddedError
from runtime.lifecycle import UnreachableError
from runtime.settings import SettingsError


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SettingsError("HELIOGRAPH_X is not a setting"), 2, "HELIOGRAPH_X is not a setting"),
        (CommandUsageError("--data: is not JSON"), 2, "--data: is not JSON"),
        (CommandError("no schema yet"), 1, "no schema yet"),
        (UnreachableError("Kafka at a:1 did not answer"), 1, "Kafka at a:1 did not answer"),
        (NotReadyError("no topic"), 1, "no topic"),
        (EmbeddedError("PostgreSQL ended at start"), 1, "PostgreSQL ended at start"),
        (SealError("does not open"), 1, "does not open"),
        (
            asyncpg.InvalidPasswordError('password authentication failed for user "u"'),
            1,
            'HELIOGRAPH_DATABASE_URL: password authentication failed for user "u"',
        ),
        (
            asyncpg.InvalidCatalogNameError('database "x" does not exist'),
            1,
            'HELIOGRAPH_DATABASE_URL: database "x" does not exist',
        ),
        (
            asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
            1,
            "HELIOGRAPH_DATABASE_URL: cannot execute INSERT in a read-only transaction",
        ),
        (KeyError("x"), 1, "KeyError: 'x' (this is a bug; --debug shows where)"),
        (ValueError("two\nlines"), 1, "ValueError: two lines (this is a bug; --debug shows where)"),
        (ZeroDivisionError(), 1, "ZeroDivisionError: ZeroDivisionError (this is a bug; --debug shows where)"),
    ],
)
def test_words_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, words: str
) -> None:
    assert end_with(error, monkeypatch) == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"heliograph: {words}\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_an_interrupted_command_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    assert end_with(error, monkeypatch) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_what_a_command_returns_is_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, returned: int | None, code: int
) -> None:
    monkeypatch.setattr(main, "command_line", lambda _: lambda **_: returned)
    assert main.run(["serve"]) == code


def end_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "command_line", lambda _: app)
    return main.run(["serve"])
