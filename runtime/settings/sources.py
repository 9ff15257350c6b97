"""Where settings come from: what a value is read from, and which source wins."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr, ValidationError

from runtime.settings.model import Settings
from runtime.settings.values import PREFIX, SettingsError, variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
#: Left by `serve --embedded` in the private folder of its PostgreSQL socket: whoever reaches that database also
#: gets the keys and addresses made up for it, so `emit` and `webhook add` need nothing but DATABASE_URL.
BESIDE_SOCKET = "heliograph.toml"


def load(config: Path | None = None, *, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:  # noqa: ANN401 - settings are of many types; pydantic checks each
    """Read, check and freeze the settings; raises `SettingsError` with one line that names the culprit.

    `config` beats `HELIOGRAPH_CONFIG`; `overrides` (field names) beat everything.
    """
    environ = os.environ if environ is None else environ
    known = Settings.model_fields
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    path = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if path is not None:
        for name, value in _read_toml(path).items():
            _check_known(name.lower(), name, f"in {path}", known)
            values[name.lower()] = value
            origin[name.lower()] = f"{name} in {path}"
    for name, value in environ.items():
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            field = name.removeprefix(PREFIX).lower()
            _check_known(field, name, "in the environment", known)
            if value == "":
                continue
            values[field] = value
            origin[field] = name
    for name, value in overrides.items():
        values[name] = value
        origin[name] = variable(name)
    for name, value in _beside_socket(values.get("database_url")).items():
        values.setdefault(name, value)
    try:
        return _Explicit(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        message = re.sub(r"^Value error, ", "", first["msg"])
        name = origin.get(field, variable(field)) if field else ""
        raise SettingsError(f"{name}: {message}" if name else message) from None


def environ_of(settings: Settings) -> dict[str, str]:
    """Return the environment that makes `load` return these settings, secrets in clear; `load` the other way round."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {variable(name): _written(value) for name, value in given.items() if value is not None}


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


class _Explicit(Settings):
    """Settings from the given values alone: `load` has already merged the sources in its own order."""

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, **_: Any) -> tuple[Any, ...]:  # type: ignore[override]  # noqa: ANN401, ARG003 - the signature is pydantic-settings' own
        return (init_settings,)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML ({error})") from None


def _beside_socket(dsn: object) -> dict[str, Any]:
    if not isinstance(dsn, str):
        return {}
    try:
        host = parse_qs(urlsplit(dsn).query).get("host", [""])[0]
    except ValueError:  # said by the validation that follows
        return {}
    path = Path(host, BESIDE_SOCKET)
    return _read_toml(path) if host.startswith("/") and path.is_file() else {}


def _check_known(field: str, shown: str, where: str, known: Mapping[str, FieldInfo]) -> None:
    if field not in known:
        near = difflib.get_close_matches(field, known, n=1)
        hint = f"; did you mean {variable(near[0])}?" if near else ""
        raise SettingsError(f"{shown} {where} is not a setting{hint}")
