"""The console script: flags, exit codes, and one clear line for whatever goes wrong."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path  # noqa: TC003 - typer reads the annotation when the command is registered
from typing import Annotated

import asyncpg
import typer
from typer.exceptions import Exit, TyperException

from publisher import VERSION
from publisher.cli import (
    asyncapi,
    canary,
    canary_publish,
    config,
    database,
    deadletters,
    deliveries,
    demo,
    doctor,
    emit,
    keys,
    openapi,
    serve,
    token,
    verify,
    webhook,
)
from publisher.cli.context import CommandError, CommandUsageError, Context, printable, say
from publisher.profiles import ProfileError
from publisher.roles import NotReadyError
from publisher.secrets import SealError
from runtime.embedded import EmbeddedError
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, UnreachableError, reason_of
from runtime.settings import SettingsError
from signer.faults import AgentError, PgpError

USAGE_ERRORS = (SettingsError, ProfileError, CommandUsageError)
FAILURES = (CommandError, UnreachableError, NotReadyError, EmbeddedError, SealError, AgentError, PgpError)
#: The server is there and says no: the login, the database or a permission.
DATABASE_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ReadOnlySQLTransactionError,
)
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="heliograph",
    help="Publishes a compute provider's events: signed webhooks, signed feeds, honest metrics.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(database.migrate)
app.command()(doctor.doctor)
app.command()(config.config)
app.command()(openapi.openapi)
app.command()(asyncapi.asyncapi)
app.command()(emit.emit)
app.command()(token.token)
app.command()(verify.verify)
app.command()(demo.demo)
app.add_typer(webhook.group, name="webhook")
app.add_typer(deliveries.group, name="deliveries")
app.add_typer(deadletters.group, name="deadletters")
canary.group.command()(canary_publish.publish)
canary.group.command()(canary_publish.status)
app.add_typer(canary.group, name="canary")
app.add_typer(keys.group, name="keys")


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    config_file: Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")] = None,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    ctx.obj = Context(config_file, debug)
    if version:
        typer.echo(f"heliograph {VERSION}")
        raise Exit(EXIT_DONE)
    if ctx.invoked_subcommand is None:  # global options alone
        typer.echo(ctx.get_help(), err=True)
        raise Exit(EXIT_USAGE)


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code. Global options may stand anywhere on the line."""
    try:
        code = app(args=_global_options_first(arguments), prog_name="heliograph", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            for line in "".join(traceback.format_exception(error)).splitlines():
                say(line, err=True)
        text, code = _last_words(error)
        print(text, file=sys.stderr)  # noqa: T201 - stderr is where errors go, logging or not
    return code if isinstance(code, int) else EXIT_DONE


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def _last_words(error: Exception) -> tuple[str, int]:
    """Return what an error is to a person, in one line, and the exit code it means."""
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its help is the answer
        return str(error), EXIT_USAGE
    if isinstance(error, TyperException):
        code = error.exit_code
        text = error.format_message().replace("Value error, ", "")  # what typer's own validation leaves in front
        text = " ".join(text.split())  # it lists choices on lines of their own
    elif isinstance(error, USAGE_ERRORS):
        text, code = str(error), EXIT_USAGE
    elif isinstance(error, FAILURES):
        text, code = str(error), EXIT_FAILED
    elif isinstance(error, DATABASE_REFUSALS):
        text, code = f"HELIOGRAPH_DATABASE_URL: {reason_of(error)}", EXIT_FAILED
    else:  # a bug is still one line, and says how to see more
        text = f"{type(error).__name__}: {reason_of(error)} (this is a bug; --debug shows where)"
        code = EXIT_FAILED
    return f"heliograph: {printable(text) or type(error).__name__}", code


def _global_options_first(arguments: list[str]) -> list[str]:
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument == "--debug" or argument.startswith("--config="):
            front.append(argument)
        elif argument == "--config":
            if (value := next(remaining, None)) is None:
                return [argument]  # or the command would be taken for its value
            front += [argument, value]
        else:
            rest.append(argument)
    return front + rest


if __name__ == "__main__":
    main()
