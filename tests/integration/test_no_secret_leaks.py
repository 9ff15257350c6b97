"""Where secrets must never be: everything a run says and stores, at its loudest, is searched for every one of them.

The secrets are those at rest when the run is over, opened with the service's own keys, and the keys themselves: also
what nobody was ever shown, such as private keys, is looked for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from consumers import broker
from consumers.encode import cloud_event
from publisher import endpoint_secrets, endpoints, secrets
from publisher.app import Service
from publisher.endpoints import Directory, InvalidEndpointError, NoSuchEndpointError
from publisher.ids import Ids
from publisher.secrets import Owner, Sealed, SealError, Vault
from runtime import settings as runtime_settings
from runtime.clock import SystemClock
from runtime.logs import JsonFormatter, TextFormatter
from tests.support.commands import ACCOUNT, get
from tests.support.process import environ_of, run, until
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from runtime.settings import Settings

    Connection = asyncpg.Connection[asyncpg.Record]

NEW_KEY = bytes(range(100, 132))
SECRET = bytes(range(200, 232))


# --- the search ------------------------------------------------------------------------------------------------------


def forms(secret: bytes) -> dict[str, str]:
    """Return what a secret may look like in a text, by name; bytes of a text are taken one by one (latin-1)."""
    encoded = base64.b64encode(secret).decode()
    written = {
        "base64": encoded.rstrip("="),
        "url-safe base64": base64.urlsafe_b64encode(secret).decode().rstrip("="),
        "hex": secret.hex(),
        "HEX": secret.hex().upper(),
        "raw": secret.decode("latin-1"),
        "escaped": repr(secret)[2:-1],
    }
    written |= {f"hex of {name}": text.encode("latin-1").hex() for name, text in written.items()}
    for name in ("raw", "escaped"):
        written |= {f"{name} in JSON": orjson.dumps(written[name]).decode()[1:-1]}
        written |= {f"{name} in ASCII JSON": json.dumps(written[name])[1:-1]}
    return written


def found(text: str | bytes, wanted: Iterable[bytes]) -> list[str]:
    """Return the forms in which any of `wanted` stands in `text`."""
    searched = text.decode("latin-1") if isinstance(text, bytes) else text
    return [name for secret in wanted for name, written in forms(secret).items() if written in searched]


async def dump(connection: Connection) -> str:
    """Return every row of every table as text; bytes come as hex."""
    tables = await connection.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    rows = [
        f"{table}: {row[0]}"
        for (table,) in tables
        for row in await connection.fetch(f"SELECT t::text FROM {table} t")  # noqa: S608 - the catalogue's own names
    ]
    return "\n".join(rows)


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    """All that is logged at any level, in both formats, with tracebacks."""
    text = io.StringIO()
    handlers = [logging.StreamHandler(text), logging.StreamHandler(text)]
    handlers[0].setFormatter(JsonFormatter())
    handlers[1].setFormatter(TextFormatter(show_traceback=True))
    root, level = logging.getLogger(), logging.getLogger().level
    root.handlers += handlers
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    "text",
    [
        secrets.shown(SECRET),
        f"key={base64.urlsafe_b64encode(SECRET).decode()}",
        orjson.dumps({"secret": secrets.shown(SECRET)}).decode(),
        f"bytes {SECRET!r} and more",
        orjson.dumps(f"bytes {SECRET!r} and more").decode(),
        orjson.dumps(SECRET.decode("latin-1")).decode(),
        json.dumps(SECRET.decode("latin-1")),
        f"Endpoint(keys=({SECRET!r},))",
        SECRET.hex(),
        SECRET.hex(" ", 1).upper().replace(" ", ""),
        b"\x00" + SECRET + b"\xff",
        secrets.shown(SECRET).encode().hex(),
    ],
)
def test_the_search_finds_a_secret_in_any_of_its_forms(text: str | bytes) -> None:
    assert found(text, [bytes(32), SECRET])
    assert not found(text, [bytes(range(1, 33))])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE endpoints SET description = $1",
        "INSERT INTO messages (account_id, id, type, body) VALUES ('', 'msg_1', '', convert_to($1, 'UTF8'))",
        "INSERT INTO announcements (type, key, data) VALUES ('', '', $1)",
    ],
)
async def test_the_search_finds_a_secret_in_any_table(
    statement: str, settings: Settings, connection: Connection
) -> None:
    await Directory.of(settings, Ids(SystemClock())).register(
        connection, account=ACCOUNT, url="https://receiver.example/", events=["*"]
    )
    known = await at_rest(connection, settings)
    assert found(await dump(connection), known) == []
    await connection.execute(statement, secrets.shown(known[0]))
    assert found(await dump(connection), known)


async def test_the_search_finds_secrets_stored_in_clear(connection: Connection, settings: Settings) -> None:
    await Directory.of(settings, Ids(SystemClock())).register(
        connection, account=ACCOUNT, url="https://receiver.example/", events=["*"]
    )
    [known] = await at_rest(connection, settings)
    await connection.execute("UPDATE endpoint_secrets SET sealed = $1", known)
    assert found(await dump(connection), [known]) == ["hex", "hex of raw"]


async def test_the_search_finds_a_secret_in_a_log(heard: io.StringIO) -> None:
    logging.getLogger("any").debug("sealing %r", SECRET)
    try:
        raise ValueError(secrets.shown(SECRET))  # noqa: TRY301 - the traceback of this line is what is searched
    except ValueError:
        logging.getLogger("any").exception("no secret here")
    lines = heard.getvalue().splitlines()
    sealing = [found(line, [SECRET]) for line in lines if "sealing" in line]
    assert sealing == [["escaped in JSON", "escaped in ASCII JSON"], ["escaped"]]
    failed = [found(line, [SECRET]) for line in lines if "no secret here" in line or line.startswith("ValueError")]
    assert [bool(each) for each in failed] == [True, False, True]  # JSON has all in one line, text has it in three


async def at_rest(connection: Connection, settings: Settings, **more: bytes) -> list[bytes]:
    """Return every secret the database holds, opened; those whose key is called `lost` are skipped."""
    vault = Vault(settings.keys() | more)
    rows = await connection.fetch("SELECT * FROM endpoint_secrets WHERE key_id <> 'lost'")
    return [
        vault.open(
            Sealed(row["key_id"], row["sealed"]),
            Owner(row["account_id"], row["endpoint_id"], row["version"], row["kind"]),
        )
        for row in rows
    ]


# --- the run ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    """Settings with which three attempts are over within moments."""
    quick = {"retries": 2, "attempt_timeout": 1, "window": 3.2, "claim_interval": 0.05, "log_level": "debug"}
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return runtime_settings.load(environ={}, **given | quick)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    stop = asyncio.Event()
    async with Service(settings) as service:
        task = asyncio.create_task(service.run(stop))
        try:
            yield service
        finally:
            stop.set()
            assert await task == 0


async def produce(settings: Settings, accounts: Iterable[str]) -> None:
    """Produce one event for each account."""
    producer = broker.KafkaProducer(settings)
    await producer.start()
    topic, time = settings.kafka_topic_events, datetime(2026, 11, 1, tzinfo=UTC)
    await producer.send(
        cloud_event(topic, "server.power.on", time=time, source="/test", account=account) for account in accounts
    )
    await producer.stop()


async def commands(settings: Settings, endpoint_id: str, shown: list[bytes]) -> str:
    """Run every command that meets a secret, at its loudest; return what they said but for the lines that show one."""
    environ = environ_of(settings)
    key = base64.b64encode(NEW_KEY).decode()
    rotating = environ | {"HELIOGRAPH_SECRET_KEYS": f"new:{key},{environ['HELIOGRAPH_SECRET_KEYS']}"}
    mine = ("--account", ACCOUNT, "--debug")
    said = []
    for arguments in (
        ("add", "--url", "https://receiver.example/", "--algorithm", "ed25519", *mine),
        ("rotate", endpoint_id, *mine),
    ):
        finished = await run("webhook", *arguments, environ=environ)
        shown.append(base64.b64decode(orjson.loads(finished.stdout[0])["secret"].removeprefix("whsec_")))
        said.append(str(finished._replace(stdout=finished.stdout[1:])))
    calls: tuple[tuple[tuple[str, ...], int], ...] = (
        (("webhook", "list", *mine), 0),
        (("webhook", "pause", endpoint_id, *mine), 0),
        (("webhook", "enable", endpoint_id, *mine), 0),
        (("webhook", "rotate", "we_absent", *mine), 1),
        (("webhook", "add", "--url", "http://receiver.example/", *mine), 2),
        (("keys", "rotate-secrets", "--debug"), 1),
        (("keys", "rotate-secrets", "--debug"), 1),
        (("config", "--debug"), 0),
        (("doctor", "--debug"), 1),  # it finds the secret that does not open
        (("emit", "server.deleted", *mine), 0),
    )
    for call, expected in calls:
        finished = await run(*call, environ=rotating)
        assert finished.code == expected, finished
        said.append(str(finished))
    return "\n".join(said)


async def errors(directory: Directory, connection: Connection, settings: Settings, endpoint_id: str) -> str:
    """Return objects and errors that have to do with secrets, as text."""
    [endpoint] = (await directory.of_ids(connection, [endpoint_id])).values()
    rows = await connection.fetch(endpoints.SQL["prepare"], [endpoint_id])
    vault = Vault(settings.keys())
    texts: list[object] = [settings, settings.model_dump(), endpoint, directory, vault, rows]
    texts.append(endpoint_secrets.opened(vault, rows))
    for key_id in ("test", "new"):
        with pytest.raises(SealError) as unopened:
            vault.open(Sealed(key_id, bytes(60)), Owner(ACCOUNT, endpoint_id, 1))
        texts.append(unopened.value)
    with pytest.raises(InvalidEndpointError) as invalid:
        await directory.rotate(connection, ACCOUNT, endpoint_id, overlap=-1)
    with pytest.raises(NoSuchEndpointError) as absent:
        await directory.rotate(connection, "acct_other", endpoint_id)
    texts += [invalid.value, absent.value]
    return "\n".join(f"{each} {each!r}" for each in texts)


@pytest.mark.slow
async def test_no_secret_is_anywhere_but_in_the_line_that_shows_it(
    hasty: Settings, connection: Connection, heard: io.StringIO
) -> None:
    directory = Directory.of(hasty, Ids(SystemClock()))
    said: dict[str, str] = {}
    shown: list[bytes] = []

    async def registered(account: str, url: str, **more: Any) -> str:
        endpoint_id, secret = await directory.register(connection, account=account, url=url, events=["*"], **more)
        shown.append(base64.b64decode(secret.removeprefix("whsec_")))
        return endpoint_id

    async def dropped(account: str) -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM deliveries WHERE account_id = $1", account))

    async with Receiver().listening() as good, Receiver().listening() as bad, running(hasty) as service:
        endpoint_id = await registered(ACCOUNT, good.url, algorithm="ed25519")
        await registered("acct_bad", bad.url)  # which trusts nobody: 401 to every attempt
        await registered("acct_lost", good.url)
        await connection.execute("UPDATE endpoint_secrets SET key_id = 'lost' WHERE account_id = 'acct_lost'")
        good.trust(secrets.shown(shown[0]))
        await produce(hasty, [ACCOUNT, "acct_bad", "acct_lost"])
        await good.until(lambda r: len(r.received) == 1)
        for account in ("acct_bad", "acct_lost"):
            await until(lambda account=account: dropped(account), f"what {account} does not get is dropped")  # type: ignore[misc]  # mypy infers no type for a lambda's default
        assert len(bad.refused) == 3

        rotated = await directory.rotate(connection, ACCOUNT, endpoint_id)
        shown.append(base64.b64decode(rotated.removeprefix("whsec_")))
        await produce(hasty, [ACCOUNT])
        await good.until(lambda r: len(r.received) == 2)
        said["objects and errors"] = await errors(directory, connection, hasty, endpoint_id)
        # Emits, too; by then another key has sealed the secrets, which this service has not been given.
        said["commands"] = await commands(hasty, endpoint_id, shown)
        await until(lambda: _is_told(heard), "the service says that it cannot open a secret")
        api, admin = service.addresses.api, service.addresses.admin
        for url in (f"{admin}/metrics", f"{admin}/health", f"{admin}/readyz", f"{api}/health"):
            answer = await get(url)
            said[url] = answer.text
    said["log"] = heard.getvalue()
    said["database"] = await dump(connection)

    known = {*shown, *await at_rest(connection, hasty, new=NEW_KEY), *hasty.keys().values(), NEW_KEY}
    assert len(known) == 6 + 4 + 2  # symmetric secrets; private keys, which nobody was shown; the keys that seal
    assert [each for each in said if not said[each]] == []
    assert "whsec_" not in "".join(said.values())
    assert {each: found(text, known) for each, text in said.items()} == {each: [] for each in said}


async def _is_told(heard: io.StringIO) -> bool:
    return "was sealed with key 'new', which is not in HELIOGRAPH_SECRET_KEYS" in heard.getvalue()
