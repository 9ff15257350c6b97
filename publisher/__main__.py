"""The console script: flags, exit codes, and one clear line for whatever goes wrong."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path  # noqa: TC003 - typer reads the annotation when the command is registered
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import Exit

from publisher import VERSION
from publisher.cli.context import Context, say
from runtime.lifecycle import EXIT_DONE, EXIT_USAGE

if TYPE_CHECKING:
    from types import ModuleType

#: Each command and the module of publisher/cli that has it under its own name. To load all of them takes a second, so
#: only what is named is loaded.
COMMANDS = {
    "serve": "serve",
    "migrate": "database",
    "doctor": "doctor",
    "config": "config",
    "openapi": "openapi",
    "asyncapi": "asyncapi",
    "emit": "emit",
    "token": "token",
    "verify": "verify",
    "demo": "demo",
}
#: Each group of commands, and the module that has it.
GROUPS = {
    "webhook": "webhook",
    "deliveries": "deliveries",
    "deadletters": "deadletters",
    "canary": "canary",
    "keys": "keys",
}
#: Commands of a group that stand in a module of their own.
APART = {"canary": {"publish": "canary_publish", "status": "canary_publish"}}
EXIT_INTERRUPTED = 130


def command_line(arguments: list[str]) -> typer.Typer:
    """Return the command line with what `arguments` name, or with everything where they name nothing there is."""
    made = typer.Typer(
        name="heliograph",
        help="Publishes a compute provider's events: signed webhooks, signed feeds, honest metrics.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    made.callback(invoke_without_command=True)(_root)
    named = [each for each in arguments if not each.startswith("-")]
    chosen = [each for each in named if each in COMMANDS or each in GROUPS][:1] or [*COMMANDS, *GROUPS]
    for name in chosen:
        if name in COMMANDS:
            made.command(name)(getattr(_module(COMMANDS[name]), name))
        else:
            made.add_typer(_group(name, named), name=name)
    return made


def _group(name: str, named: list[str]) -> typer.Typer:
    group: typer.Typer = _module(GROUPS[name]).group
    known = {each.name or getattr(each.callback, "__name__", None) for each in group.registered_commands}
    apart = APART.get(name, {})
    wanted = [each for each in named if each in apart][:1] or ([] if known.intersection(named) else [*apart])
    for command in wanted:
        if command not in known:
            group.command(command)(getattr(_module(apart[command]), command))
    return group


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"publisher.cli.{name}")


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
        ordered = _global_options_first(arguments)
        code = command_line(ordered)(args=ordered, prog_name="heliograph", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            for line in "".join(traceback.format_exception(error)).splitlines():
                say(line, err=True)
        from publisher.cli.last_words import last_words  # noqa: PLC0415 - knows every error, so it loads a lot

        text, code = last_words(error)
        print(text, file=sys.stderr)  # noqa: T201 - stderr is where errors go, logging or not
    return code if isinstance(code, int) else EXIT_DONE


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


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
