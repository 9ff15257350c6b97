"""How values are written: the types of settings, what parses them, how they are shown. Knows no setting."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

PREFIX = "HELIOGRAPH_"
SECRET_KEY_BYTES = 32
MASK = "********"
#: Secrets that are shown but for the passwords in them.
URLS = frozenset({"database_url", "ratelimit_store"})
LOOPBACK = ("127.0.0.0/8", "::1/128")


class SettingsError(Exception):
    """A setting is missing, unknown or wrong; the text is one line and names it."""


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Port = Annotated[int, Field(ge=1, le=65535)]
Ports = Annotated[tuple[Port, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def variable(name: str) -> str:
    """Return the environment name of a field."""
    return PREFIX + name.upper()


def listen_address(value: str) -> tuple[str, int]:
    """Split `host:port` (`[v6]:port`); raises ValueError saying what is wrong."""
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:]+)\]|(?P<host>[^:\s]+)):(?P<port>\d{1,5})", value)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 - the largest port
        msg = f"{value!r} is not host:port"
        raise ValueError(msg)
    return match["v6"] or match["host"], int(match["port"])


def parse_secret_keys(value: str) -> dict[str, bytes]:
    """Parse `id:base64,id:base64`; raises ValueError that never repeats key material."""
    keys: dict[str, bytes] = {}
    for position, part in enumerate(filter(None, (piece.strip() for piece in value.split(","))), 1):
        key_id, separator, encoded = part.partition(":")
        if not separator or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", key_id):
            msg = f"key {position} is not id:base64"
            raise ValueError(msg)
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != SECRET_KEY_BYTES:
            msg = f"key {key_id!r} is not the base64 of {SECRET_KEY_BYTES} bytes (make one: openssl rand -base64 32)"
            raise ValueError(msg)
        if key_id in keys:
            msg = f"key id {key_id!r} is used twice"
            raise ValueError(msg)
        keys[key_id] = key
    if not keys:
        msg = "holds no key"
        raise ValueError(msg)
    return keys


def masked(name: str, value: object) -> str:
    """Render a setting for people: secrets masked, a URL's password too, tuples as they are written."""
    if value is None:
        return ""
    if name in URLS and isinstance(value, SecretStr):
        parts = urlsplit(value.get_secret_value())
        if parts.password:
            userinfo, _, host = parts.netloc.rpartition("@")
            parts = parts._replace(netloc=f"{userinfo.partition(':')[0]}:{MASK}@{host}")
        query = re.sub(r"(password=)[^&]*", rf"\1{MASK}", parts.query)
        shown = urlunsplit(parts._replace(query=query))
        return shown if parts.netloc else shown.replace(":", "://", 1)  # urlunsplit drops an empty host's slashes
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
