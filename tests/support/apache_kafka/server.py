"""Run a real, single-broker Apache Kafka (KRaft mode) for the acceptance tests.

A stand-in for the broker agrees with whatever its author believed; only the real
one shows how consumer groups, offsets and restarts behave.  This module gets the
broker's jars with Maven (``pom.xml`` beside it names the version) and runs them with
``java``, so that no container runtime is needed.  All listeners are on 127.0.0.1.

Every call blocks: from a coroutine, use ``await asyncio.to_thread(kafka.start)``.
"""

import base64
import fcntl
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NoReturn, Self

_log = logging.getLogger(__name__)

POM: Final = Path(__file__).with_name("pom.xml")
CACHE: Final = Path(__file__).parents[3] / ".cache" / "apache-kafka"

_HOST: Final = "127.0.0.1"
_RESOLVE_SECONDS: Final = 300.0
_FORMAT_SECONDS: Final = 60.0
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_PROBE_SECONDS: Final = 2.0
_TAIL_LINES: Final = 20

# Below every usual ephemeral range: a client that retries against a stopped broker
# must not be handed the broker's own port as its source port (it would then connect
# to itself, and the broker could not bind the port again).
_PORTS: Final = range(20_000, 30_000)
_PORT_TRIES: Final = 200

_JVM_OPTIONS: Final = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
)

_LOG4J: Final = """\
log4j.rootLogger=WARN, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
"""

# Metadata request, version 1, correlation id 1, no client id, no topics.
_METADATA_REQUEST: Final = struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0)


class Unavailable(Exception):  # noqa: N818 - a state to skip on, not a defect
    """Apache Kafka cannot be run here; the message says what to do about it."""


class BrokerFailedError(Exception):
    """The broker did not come up; the message ends with its last log lines."""


def resolve(cache: Path = CACHE) -> list[Path]:
    """Return the broker's jars, asking Maven only when ``pom.xml`` has changed.

    The jars stay in Maven's local repository; ``cache`` holds their list.

    Raises:
        Unavailable: Maven is missing, or could not resolve the artefacts.

    """
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n", encoding="utf-8")
    listing = cache / "classpath.json"
    fingerprint = hashlib.sha256(POM.read_bytes()).hexdigest()
    # Two test processes must not fill Maven's local repository at the same time.
    with (cache / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jars = _read_listing(listing, fingerprint)
        if jars is None:
            jars = _ask_maven(cache)
            content = {"pom": fingerprint, "jars": [str(jar) for jar in jars]}
            listing.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return jars


def _read_listing(listing: Path, fingerprint: str) -> list[Path] | None:
    """Return an earlier result if it is of this pom and its jars are still there."""
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        current = content["pom"] == fingerprint
        jars = [Path(jar) for jar in content["jars"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return jars if current and all(jar.is_file() for jar in jars) else None


def _ask_maven(cache: Path) -> list[Path]:
    """Let Maven download what ``pom.xml`` names, and return the jars."""
    mvn = _program("mvn", "install Apache Maven 3.6 or newer")
    output, log_file = cache / "classpath.txt", cache / "maven.log"
    output.unlink(missing_ok=True)
    # Plugin in full, so that no prefix look-up is needed; -U: an earlier failure to
    # download is not remembered.  Pinned versions that are present stay untouched.
    command = [
        *(mvn, "-q", "-B", "-U", "-f", str(POM)),
        "org.apache.maven.plugins:maven-dependency-plugin:build-classpath",
        "-Dmdep.includeScope=runtime",
        f"-Dmdep.outputFile={output.resolve()}",
    ]
    _log.info("resolving Apache Kafka with Maven (log: %s)", log_file)
    failure = _run(command, log_file, _RESOLVE_SECONDS)
    if failure:
        text = log_file.read_text(encoding="utf-8", errors="replace")
        cause = text.partition("[ERROR] ")[2].partition("\n")[0] or "nothing"
        message = (
            f"Maven could not resolve Apache Kafka ({failure}): check its access to a "
            f"repository (log: {log_file}), then run again; it said: {cause[:300]}"
        )
        raise Unavailable(message)
    return [Path(jar) for jar in output.read_text("utf-8").strip().split(os.pathsep)]


def _program(name: str, remedy: str) -> str:
    """Return where a program is, or say what to do to have it."""
    found = shutil.which(name)
    if found is None:
        message = f"`{name}` is not on PATH: {remedy}"
        raise Unavailable(message)
    return found


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program whose output goes to ``log``.

    It has its own session, so that Ctrl-C reaches the tests alone: they end it.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _run(command: list[str], log_file: Path, seconds: float) -> str:
    """Run a program to its end and return how it failed; nothing if it did not."""
    with log_file.open("wb") as log, _spawn(command, log) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"no end within {seconds:.0f} s"
        finally:
            process.kill()
    return f"exit code {code}" if code else ""


def _free_ports() -> int:
    """Return a loopback port that is free, as is the one after it."""
    for port in random.SystemRandom().sample(_PORTS, _PORT_TRIES):
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind((_HOST, port))
            second.bind((_HOST, port + 1))
            return port
    message = f"no two free ports between {_PORTS.start} and {_PORTS.stop}"
    raise BrokerFailedError(message)


def _serves(port: int) -> bool:
    """Tell whether the broker answers, and counts itself among the live brokers.

    An accepted connection alone is too early: for a moment longer, clients would be
    told of a cluster without brokers.
    """
    try:
        with (
            socket.create_connection((_HOST, port), _PROBE_SECONDS) as connection,
            connection.makefile("rb") as answer,
        ):
            connection.sendall(_METADATA_REQUEST)
            # It opens with: length, correlation id, number of live brokers.
            brokers: int = struct.unpack(">iii", answer.read(12))[2]
    except (OSError, struct.error):
        return False
    return brokers > 0


class ApacheKafka:
    """One Apache Kafka broker, its own controller, with data of its own.

    Entering resolves the jars, formats the storage and starts the broker; leaving
    stops it and removes its folder.  In between it may be stopped or killed, and
    started again on the same ports and data.
    """

    def __init__(self, cache: Path = CACHE, *, settings: Mapping[str, str] | None = None) -> None:
        """Prepare a broker; ``settings`` go over those of ``server.properties``."""
        self._cache = cache
        self._settings = dict(settings or {})
        self._port = 0
        self._cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._temporary = tempfile.TemporaryDirectory(prefix="apache-kafka-", ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name)
        self._java: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the broker with empty storage.

        Raises:
            Unavailable: ``java`` or ``mvn`` is missing, or the jars cannot be had.
            BrokerFailedError: The broker did not come up.

        """
        try:
            java = _program("java", "install a Java 17 runtime")
            classpath = os.pathsep.join(str(jar) for jar in resolve(self._cache))
            log4j = self._folder / "log4j.properties"
            log4j.write_text(_LOG4J, encoding="utf-8")
            logging_option = f"-Dlog4j.configuration={log4j.as_uri()}"
            self._java = [java, *_JVM_OPTIONS, logging_option, "-cp", classpath]
            self._port = self._port or _free_ports()
            self._format()
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop the broker and remove its folder."""
        self._close()

    @property
    def bootstrap(self) -> str:
        """The address for clients, as ``127.0.0.1:port``."""
        return f"{_HOST}:{self._port}"

    @property
    def log_file(self) -> Path:
        """The broker's log (warnings and above), of all its starts."""
        return self._folder / "broker.log"

    @property
    def running(self) -> bool:
        """Whether the broker's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker and wait until clients can use it.

        Raises:
            BrokerFailedError: It ended, or does not serve within the time limit.

        """
        if self.running:
            return
        properties = self._folder / "server.properties"
        began = time.monotonic()
        with self.log_file.open("ab") as log:
            self._process = _spawn([*self._java, "kafka.Kafka", str(properties)], log)
        try:
            self._wait_until_serving(self._process)
        except BaseException:
            self.kill()
            raise
        taken = time.monotonic() - began
        _log.info("Apache Kafka serves at %s after %.1f s", self.bootstrap, taken)

    def stop(self) -> None:
        """End the broker in an orderly way (SIGTERM), or after a while by force."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _log.warning("Apache Kafka ignored SIGTERM for %.0f s", _STOP_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL)."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def _wait_until_serving(self, process: subprocess.Popen[bytes]) -> None:
        """Poll the broker's socket for as long as its process lives."""
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None:
            if _serves(self._port):
                return
            if time.monotonic() >= deadline:
                self._fail(f"does not serve after {_START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
        self._fail(f"ended at start with exit code {process.returncode}")

    def _format(self) -> None:
        """Write the configuration and format the storage."""
        properties = self._folder / "server.properties"
        lines = [f"{key}={value}\n" for key, value in self._properties().items()]
        properties.write_text("".join(lines), encoding="utf-8")
        command = [
            *(*self._java, "kafka.tools.StorageTool", "format"),
            *(f"--cluster-id={self._cluster}", f"--config={properties}"),
            *self._format_arguments(),
        ]
        failure = _run(command, self.log_file, _FORMAT_SECONDS)
        if failure:
            self._fail(f"could not format its storage ({failure})")

    def _format_arguments(self) -> list[str]:
        """Return what else formatting is to be told, for brokers that are more."""
        return []

    def _properties(self) -> dict[str, str]:
        """Return the broker's configuration."""
        controller = f"{_HOST}:{self._port + 1}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "num.partitions": "2",
            "offsets.topic.num.partitions": "2",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "2",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.flush.interval.ms": "100",
            "log.flush.scheduler.interval.ms": "100",
            # A killed broker may register again only once its session has lapsed.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # The default, 128 MB, is a quarter of the heap.
            "log.cleaner.dedupe.buffer.size": "4194304",
            "background.threads": "2",
            **self._settings,
        }

    def _fail(self, what: str) -> NoReturn:
        """Raise an error that carries the broker's last log lines."""
        text = self.log_file.read_text(encoding="utf-8", errors="replace")
        tail = "\n".join(text.splitlines()[-_TAIL_LINES:])
        message = f"Apache Kafka {what}; its log ends with:\n{tail}"
        raise BrokerFailedError(message)

    def _close(self) -> None:
        """Stop the broker and remove its folder, whatever happens."""
        try:
            self.stop()
        finally:
            self._temporary.cleanup()


def main() -> None:
    """Run one broker until Ctrl-C, for trying things by hand."""
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ApacheKafka() as kafka:
            print(kafka.bootstrap, flush=True)  # noqa: T201 - its very output
            while kafka.running:
                time.sleep(1)
            _log.error("the broker has ended by itself")
    except KeyboardInterrupt:
        _log.info("stopped")


if __name__ == "__main__":
    main()
