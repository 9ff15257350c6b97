"""The API's description in two house styles, and how to find one's way in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson

from publisher import profiles
from publisher.api.openapi import document, encoded

if TYPE_CHECKING:
    from collections.abc import Iterator

TINY = str(Path(__file__).parent / "profiles" / "tiny.toml")
URL = "https://api.example.com"
PROFILES = {name: profiles.load(name) for name in ("nordbastion", TINY)}
DOCUMENTS: dict[str, dict[str, Any]] = {
    name: orjson.loads(encoded(document(profile, URL))) for name, profile in PROFILES.items()
}
NORDBASTION = DOCUMENTS["nordbastion"]


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for key, part in value.items():
            yield from walk(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from walk(part, (*path, str(number)))


def at(described: dict[str, Any], reference: str) -> Any:
    found: Any = described
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def resolved(described: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = at(described, value["$ref"]) if "$ref" in value else value
    return found


def check(described: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Hold a value against a schema of a document, formats too."""
    validator = jsonschema.Draft202012Validator(
        {**schema, "components": described["components"]},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )
    validator.validate(value)


def operation_of(described: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [value for _, value in walk(described["paths"]) if value.get("operationId") == name]
    return found
