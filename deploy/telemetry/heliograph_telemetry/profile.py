"""The limits and the envelope of errors of a provider's house style, from the file the service reads too.

A profile is `nordbastion` or another that comes with this release, or the path of a `.toml` file. The service checks
every word of it (`heliograph config`); here only what is used is read, and a file that lacks it is a `ProfileError`.
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from heliograph_telemetry.callers import POLICIES

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "profiles"
MARK, OPTIONAL = "$", "?"
#: So that 0.29 x 100 is 29, which it is not in binary.
ROUNDING = 1e-9
#: What an error of a limit is called where the profile has no code of its own.
CODE = "rate_limited"


class ProfileError(Exception):
    """A profile is missing or lacks something; the text is one line that names both."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What the house style says of limits: requests per `window` seconds, told in which headers, refused in what form.

    `classes` are requests by policy, `rates` what multiplies them by tier.
    """

    window: int
    classes: Mapping[str, int]
    rates: Mapping[str, float]
    default_rate: float
    limit_header: str
    remaining_header: str
    reset_header: str
    has_draft: bool
    request_id_header: str
    status: int
    type: str
    code: str
    doc_url: str
    body: Any

    @classmethod
    def load(cls, name: str) -> Self:
        """Read a profile by name or path; raises `ProfileError`."""
        path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
        try:
            return cls.of(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ProfileError(f"the profile {path} cannot be read ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ProfileError(f"the profile {path} is not TOML ({error})") from None
        except KeyError as error:
            raise ProfileError(f"the profile {path} has no {error.args[0]!r}") from None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return what a profile's data says; KeyError names what it lacks. Defaults are those of the service. Pure."""
        limits, errors = data["limits"], data["errors"]
        headers, kind = limits.get("headers", {}), errors["kinds"]["rate_limited"]
        rates = {name: float(tier.get("rate", 1.0)) for name, tier in limits["tiers"].items()}
        return cls(
            window=limits["window"],
            classes={policy: limits["classes"][policy] for policy in POLICIES},
            rates=rates,
            default_rate=rates[limits["default_tier"]],
            limit_header=headers.get("limit", "X-RateLimit-Limit"),
            remaining_header=headers.get("remaining", "X-RateLimit-Remaining"),
            reset_header=headers.get("reset", "X-RateLimit-Reset"),
            has_draft=headers.get("draft", True),
            request_id_header=data.get("headers", {}).get("request_id", "X-Request-ID"),
            status=kind["status"],
            type=kind["type"],
            code=kind.get("code", CODE),
            doc_url=errors["doc_url"],
            body=errors["body"],
        )

    def limit(self, policy: str, tier: str | None) -> int:
        """Return the requests per window of a policy; an unknown tier is the default one. Pure."""
        rate = self.default_rate if tier is None else self.rates.get(tier, self.default_rate)
        return max(1, math.floor(self.classes[policy] * rate + ROUNDING))

    def envelope(self, message: str, request_id: str) -> bytes:
        """Return the body of a refusal, JSON. Pure."""
        values = {
            "type": self.type,
            "code": self.code,
            "message": message,
            "status": self.status,
            "request_id": request_id,
            "doc_url": self.doc_url,
            "field": None,
            "reason": None,
        }
        return json.dumps(_fill(self.body, values), ensure_ascii=False, separators=(",", ":")).encode()


def _fill(template: object, values: Mapping[str, object]) -> object:
    """Do what publisher/profiles/templates.py does: a `"$name?"` without a value is left out."""
    if isinstance(template, dict):
        return {key: _fill(part, values) for key, part in template.items() if not _is_left_out(part, values)}
    if isinstance(template, list):
        return [_fill(part, values) for part in template]
    if isinstance(template, str) and template.startswith(MARK):
        return values[template[1:].removesuffix(OPTIONAL)]
    return template


def _is_left_out(part: object, values: Mapping[str, object]) -> bool:
    if not isinstance(part, str) or not part.startswith(MARK) or not part.endswith(OPTIONAL):
        return False
    return values.get(part[1:-1]) is None
