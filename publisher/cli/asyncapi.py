"""`heliograph asyncapi`: the description of the Kafka topics, by their configured names."""

from __future__ import annotations

import orjson
import typer

from publisher.asyncapi import document
from publisher.cli import context
from runtime.lifecycle import EXIT_DONE


def asyncapi(ctx: typer.Context) -> int:
    """Print the AsyncAPI 3.0 document of the Kafka topics, as JSON."""
    described = document(context.of(ctx).settings())
    typer.echo(orjson.dumps(described, option=orjson.OPT_INDENT_2).decode())
    return EXIT_DONE
