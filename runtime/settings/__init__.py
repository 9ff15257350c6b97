"""Every setting of the service, each with its meaning: the one list `config`, the docs and the tests read.

Sources, the first that has a value wins: explicit overrides (command line, `--embedded`), the environment
(`HELIOGRAPH_*`), the TOML file (`--config` or `HELIOGRAPH_CONFIG`), what an embedded server left beside the socket
that `DATABASE_URL` points to, the default. A name nobody knows is an error: a misspelt limit that is silently
ignored is worse than a refused start.
"""

from runtime.settings.canary import parse_fingerprint
from runtime.settings.model import Settings
from runtime.settings.sources import BESIDE_SOCKET, CONFIG_VARIABLE, environ_of, load
from runtime.settings.values import (
    LOOPBACK,
    MASK,
    PREFIX,
    SECRET_KEY_BYTES,
    SettingsError,
    listen_address,
    masked,
    parse_secret_keys,
    variable,
)

__all__ = [
    "BESIDE_SOCKET",
    "CONFIG_VARIABLE",
    "LOOPBACK",
    "MASK",
    "PREFIX",
    "SECRET_KEY_BYTES",
    "Settings",
    "SettingsError",
    "environ_of",
    "listen_address",
    "load",
    "masked",
    "parse_fingerprint",
    "parse_secret_keys",
    "variable",
]
