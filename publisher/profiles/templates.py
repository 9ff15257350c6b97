"""Bodies as templates: what a profile writes down is JSON with `$names` in it, which are filled with values. Pure.

`"$name"` stands for the value itself, of any type; a member whose value is `"$name?"` is left out when that value is
None. Everything else stands for itself. The same template filled with JSON Schemas is the schema of the body, so a
document that describes an API cannot differ from what the API sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARK, OPTIONAL = "$", "?"


def names(template: object) -> Iterator[str]:
    """Yield every name a template asks for."""
    if isinstance(template, dict):
        for value in template.values():
            yield from names(value)
    elif isinstance(template, list):
        for value in template:
            yield from names(value)
    elif isinstance(template, str) and template.startswith(MARK):
        yield template[1:].removesuffix(OPTIONAL)


def fill(template: object, values: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
    """Return the body; KeyError for a name there is no value for, which the profile's check has ruled out."""
    if isinstance(template, dict):
        filled = {}
        for key, part in template.items():
            if _is_optional(part) and values.get(part[1:-1]) is None:
                continue
            filled[key] = fill(part, values)
        return filled
    if isinstance(template, list):
        return [fill(part, values) for part in template]
    if isinstance(template, str) and template.startswith(MARK):
        return values[template[1:].removesuffix(OPTIONAL)]
    return template


def schema(template: object, schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the JSON Schema of what a template makes, from the schemas of the values it is filled with."""
    if isinstance(template, dict):
        return {
            "type": "object",
            "properties": {key: schema(part, schemas) for key, part in template.items()},
            "required": [key for key, part in template.items() if not _is_optional(part)],
            "additionalProperties": False,
        }
    if isinstance(template, list):
        parts = [schema(part, schemas) for part in template]
        within = {"items": parts[0]} if len(parts) == 1 else {"prefixItems": parts}  # which many tools do not know
        return {"type": "array", **within, "minItems": len(parts), "maxItems": len(parts)}
    if isinstance(template, str) and template.startswith(MARK):
        return dict(schemas[template[1:].removesuffix(OPTIONAL)])
    return {"const": template}


def _is_optional(part: object) -> bool:
    return isinstance(part, str) and part.startswith(MARK) and part.endswith(OPTIONAL)
