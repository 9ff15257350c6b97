"""What is said of an error in the end: one line and an exit code, whatever it is."""

from __future__ import annotations

import asyncpg
from typer.exceptions import TyperException

from publisher.cli.context import CommandError, CommandUsageError, printable
from publisher.profiles import ProfileError
from publisher.roles import NotReadyError
from publisher.secrets import SealError
from runtime.embedded import EmbeddedError
from runtime.lifecycle import EXIT_FAILED, EXIT_USAGE, UnreachableError, reason_of
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


def last_words(error: Exception) -> tuple[str, int]:
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
