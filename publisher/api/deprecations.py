"""What is on its way out says so on every answer: a profile's deprecations as headers. Pure.

`Deprecation: true`, `Sunset` (RFC 8594) and a `Link` to what to do about it, as the provider's page has it.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING

from publisher.api.operations import OPERATIONS
from publisher.profiles import ProfileError

if TYPE_CHECKING:
    from publisher.profiles import Profile


def check_deprecations(profile: Profile) -> None:
    """Raise `ProfileError` for a deprecation of an operation that does not exist, and for a second one of the same."""
    names = [operation.name for operation in OPERATIONS]
    seen: set[str] = set()
    for number, each in enumerate(profile.deprecations):
        where = f"HELIOGRAPH_PROFILE: {profile.name}: deprecations.{number}.operation"
        if each.operation not in names:
            raise ProfileError(f"{where}: there is no operation {each.operation!r} (there is: {', '.join(names)})")
        if each.operation in seen:
            raise ProfileError(f"{where}: {each.operation!r} stands there twice")
        seen.add(each.operation)


def deprecation_headers(profile: Profile, operation_name: str) -> dict[str, str]:
    """Return what every answer of an operation says about its end, empty for one that stays."""
    for each in profile.deprecations:
        if each.operation == operation_name:
            return {
                "Deprecation": "true",
                "Sunset": format_datetime(each.sunset.astimezone(UTC), usegmt=True),
                "Link": f'<{each.link}>; rel="deprecation"',
            }
    return {}
