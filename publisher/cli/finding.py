"""What one check of `heliograph doctor` comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `advice` is what to do, empty when all is well."""

    name: str
    detail: str
    advice: str = ""
