"""The HTTP server: protocol.py's connections behind a listening socket, with or without TLS, as the settings say.

Reading bodies is bodies.py's business, how often somebody may ask limits.py's.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
from typing import TYPE_CHECKING

import orjson
from aiohttp import hdrs, web

from publisher.api import errors
from publisher.api.protocol import Bounds, Listener, Terms, secure
from runtime.lifecycle import reason_of
from runtime.settings import SettingsError, listen_address, variable

if TYPE_CHECKING:
    from publisher.api.errors import ApiError
    from publisher.api.protocol import Envelope
    from publisher.api.shortcut import Shortcut
    from publisher.ids import Ids
    from publisher.profiles import Profile
    from runtime.settings import Settings

#: Connections the kernel keeps until they are accepted.
BACKLOG = 1024
#: Connections of a listener that is not public.
FEW = 100
#: Open files that are not for clients, beside one for each attempt and each connection to the database: Kafka, Redis,
#: listeners, the log, names being looked up.
OTHER_FILES = 128


class Runner(web.AppRunner):
    """aiohttp's runner, with our server in it."""

    def __init__(
        self, app: web.Application, terms: Terms, *, shutdown_timeout: float, shortcut: Shortcut | None
    ) -> None:
        """See `runner`."""
        bounds = terms.bounds
        super().__init__(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=shutdown_timeout,
            keepalive_timeout=bounds.idle,
            lingering_time=bounds.linger,
            max_line_size=bounds.line_bytes,
            max_field_size=bounds.line_bytes,
            max_headers=bounds.headers,
            auto_decompress=False,  # bodies.py refuses what is packed; the parser would unpack it first, or fail
        )
        self.terms = terms
        self._shortcut = shortcut

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handler = made.request_handler if self._shortcut is None else self._shortcut.before(made.request_handler)
        return Listener(handler, request_factory=made.request_factory, terms=self.terms, **self._kwargs)


class Site(web.TCPSite):
    """aiohttp's TCP site; a TLS handshake has as long as a request's head."""

    def __init__(self, runner: Runner, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """Listen at host and port, with TLS where there is a context."""
        super().__init__(runner, host, port, ssl_context=tls, backlog=BACKLOG)
        self._handshake = runner.terms.bounds.head if tls else None

    async def start(self) -> None:
        """Listen; raises OSError."""
        await web.BaseSite.start(self)
        assert self._runner.server is not None  # noqa: S101 - aiohttp refuses a site before setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._runner.server,
            self._host,
            self._port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=self._handshake,
            backlog=self._backlog,
        )


def runner(
    app: web.Application,
    *,
    envelope: Envelope | None = None,
    connections: int = FEW,
    is_https: bool = False,
    bounds: Bounds | None = None,
    shutdown_timeout: float = 1.0,
    shortcut: Shortcut | None = None,
) -> Runner:
    """Return what serves an application; to be set up, and given a `Site`.

    `envelope` dresses errors no route has seen; without one they are a few words of plain text. `is_https` says that
    customers come over HTTPS, here or at a proxy, and may be told never to come otherwise. `shutdown_timeout` is the
    seconds clients have to leave at the end. A `shortcut` answers before the application does.
    """

    async def on_response_prepare(_: web.Request, response: web.StreamResponse) -> None:
        secure(response, is_https=is_https)

    app.on_response_prepare.append(on_response_prepare)
    terms = Terms(connections=connections, bounds=bounds or Bounds(), envelope=envelope, is_https=is_https)
    return Runner(app, terms, shutdown_timeout=shutdown_timeout, shortcut=shortcut)


async def listen(runner: Runner, address: str, tls: ssl.SSLContext | None = None) -> str:
    """Set up and listen at an address of the settings; return where that is, as a URL. Raises OSError."""
    host, port = listen_address(address)
    await runner.setup()
    await Site(runner, host, port, tls=tls).start()
    bound = runner.addresses[0]
    shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return f"{'https' if tls else 'http'}://{shown}:{bound[1]}"


def envelope_of(profile: Profile, ids: Ids) -> Envelope:
    """Return what dresses errors in a profile's house style, each with a request id of its own."""

    def dress(problem: ApiError) -> web.Response:
        request_id = ids.new("req")
        status, body = errors.body_of(problem, profile, request_id)
        headers = {**problem.headers, profile.headers.request_id: request_id, hdrs.CONTENT_TYPE: "application/json"}
        return web.Response(status=status, body=orjson.dumps(body), headers=headers)

    return dress


def most_connections(settings: Settings) -> int:
    """Return how many connections the API may have: as configured, or as the limit of open files leaves."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return settings.api_connections
    kept = settings.max_in_flight + settings.database_pool + OTHER_FILES
    return within_files(settings.api_connections, files=files, kept=kept)


def within_files(wished: int, *, files: int, kept: int) -> int:
    """Return how many of `files` are for connections when `kept` are for others, but a tenth at least. Pure."""
    return min(wished, max(files - kept, files // 10, 1))


def tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of the API, None where it speaks plain HTTP; raises `SettingsError` for unfit files.

    TLS 1.2 at least, which is the standard library's own default. With a CA for clients they are asked for a
    certificate and may have none; one that does not descend from that CA ends the handshake.
    """
    if settings.api_tls_certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    name, also = "api_tls_certfile", f" with {variable('api_tls_keyfile')}"
    try:
        # An encrypted key would be asked for on the terminal; with a password that is wrong it is an error.
        context.load_cert_chain(settings.api_tls_certfile, settings.api_tls_keyfile, password="")
        if settings.api_tls_client_cafile is not None:
            name, also = "api_tls_client_cafile", ""
            context.load_verify_locations(settings.api_tls_client_cafile)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ValueError) as error:  # ssl's own errors are among them
        raise SettingsError(f"{variable(name)}{also}: cannot be used ({reason_of(error)})") from None
    return context
