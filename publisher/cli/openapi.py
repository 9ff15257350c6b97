"""`heliograph openapi`: the description of the HTTP API in the configured profile's style."""

from __future__ import annotations

import orjson
import typer

from publisher import profiles
from publisher.api.deprecations import check_deprecations
from publisher.api.openapi import document
from publisher.cli import context
from runtime.lifecycle import EXIT_DONE


def openapi(ctx: typer.Context) -> int:
    """Print the OpenAPI 3.1 document of the HTTP API, as JSON."""
    settings = context.of(ctx).settings()
    profile = profiles.load(settings.profile)
    check_deprecations(profile)
    described = document(profile, settings.public_url)
    typer.echo(orjson.dumps(described, option=orjson.OPT_INDENT_2).decode())
    return EXIT_DONE
