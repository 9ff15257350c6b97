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
from publisher.app import NotReadyError
from publisher.cli import config, database, demo, doctor, emit, serve, webhook
from publisher.cli.context import CommandError, CommandUsageError, Context
from publisher.secrets import SealError
from runtime.embedded import EmbeddedError
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, UnreachableError, reason_of
from runtime.settings import SettingsError

USAGE_ERRORS = (SettingsError, CommandUsageError)
FAILURES = (CommandError, UnreachableError, NotReadyError, EmbeddedError, SealError)
#: The server is there and says no: the login, the database or a permission.
DATABASE_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
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
app.command()(emit.emit)
app.command()(demo.demo)
app.add_typer(webhook.group, name="webhook")


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


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code. Global options may stand anywhere on the line."""
    is_debug = "--debug" in arguments
    try:
        code = app(args=_global_options_first(arguments), prog_name="heliograph", standalone_mode=False)
    except TyperException as error:
        return _refuse(error, is_debug=is_debug)
    except USAGE_ERRORS as error:
        return _fail(error, str(error), EXIT_USAGE, is_debug=is_debug)
    except FAILURES as error:
        return _fail(error, str(error), EXIT_FAILED, is_debug=is_debug)
    except DATABASE_REFUSALS as error:
        return _fail(error, f"HELIOGRAPH_DATABASE_URL: {reason_of(error)}", EXIT_FAILED, is_debug=is_debug)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:  # the last resort: a bug is still one line, and says how to see more
        text = f"{type(error).__name__}: {reason_of(error)} (this is a bug; --debug shows where)"
        return _fail(error, text, EXIT_FAILED, is_debug=is_debug)
    return code if isinstance(code, int) else EXIT_DONE


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def _refuse(error: TyperException, *, is_debug: bool) -> int:
    """Say what is wrong with the command line; a group without a command is answered with its help."""
    text = error.format_message().replace("Value error, ", "")  # what typer's own validation leaves in front
    if type(error).__name__ == "NoArgsIsHelpError":
        print(text, file=sys.stderr)  # noqa: T201 - nothing was asked for that stdout could answer
        return EXIT_USAGE
    return _fail(error, text or type(error).__name__, error.exit_code, is_debug=is_debug)


def _fail(error: BaseException, text: str, code: int, *, is_debug: bool) -> int:
    if is_debug:
        traceback.print_exception(error)
    print(f"heliograph: {text}", file=sys.stderr)  # noqa: T201 - stderr is where errors go, logging or not
    return code


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
            front += [argument, *([value] if (value := next(remaining, None)) is not None else [])]
        else:
            rest.append(argument)
    return front + rest


if __name__ == "__main__":
    main()
