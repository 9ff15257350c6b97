"""House styles: what a provider's API looks like, as data. One TOML file a provider, beside this one.

A profile says where routes are, which headers carry what, what bodies are wrapped in, how errors, lists and limits
look, which events there are and what is deprecated. Handlers know none of it: they take a `Call` and return a
`Reply` (publisher/api/call.py), and the pipeline dresses both by the profile. `model.py` is what a file may say,
`templates.py` how bodies are filled.

`HELIOGRAPH_PROFILE` is the name of a file here, or a path that ends in `.toml`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from publisher.profiles.model import Profile

__all__ = ["Profile", "ProfileError", "load", "shipped"]

FOLDER = Path(__file__).parent


class ProfileError(Exception):
    """A profile is missing or broken; the text is one line that names the file and the place in it."""


def shipped() -> list[str]:
    """Return the names of the profiles that come with this release."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Profile:
    """Read and check a profile, by name or path; raises `ProfileError`."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not name.endswith(".toml") and name not in shipped():
        raise ProfileError(f"HELIOGRAPH_PROFILE: there is no profile {name!r} (there is: {', '.join(shipped())})")
    try:
        return Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ProfileError(f"HELIOGRAPH_PROFILE: {path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"HELIOGRAPH_PROFILE: {path} is not TOML ({error})") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ProfileError(f"HELIOGRAPH_PROFILE: {path}: {f'{where}: ' if where else ''}{message}") from None
