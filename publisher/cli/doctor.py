"""`heliograph doctor`: is everything there that the service needs, and what to do about what is not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg
import typer
import uvloop

from consumers import broker
from consumers.broker_access import RefusedError
from migrations import runner
from publisher import endpoint_secrets, profiles
from publisher.api.counters import SharedCounters
from publisher.api.key_set import KeySet
from publisher.cli import context, doctor_signing
from publisher.cli.finding import Finding
from publisher.preconditions import groups_of, needs_of
from publisher.profiles import ProfileError
from publisher.roles import ROLES
from publisher.secrets import Vault
from runtime.clock import SystemClock
from runtime.database import TRANSIENT, address_of, open_pool
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, UnreachableError, reason_of
from runtime.settings import SettingsError, variable

if TYPE_CHECKING:
    from runtime.database import Connection
    from runtime.settings import Settings

#: Doctor asks once and answers; it does not wait for servers to come up.
PATIENCE = 3.0
#: Tables the user does not own: partitions are made and dropped by their owner alone.
NOT_OWNED = """
SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND NOT pg_has_role(relowner, 'USAGE')
"""
#: Receivers refuse timestamps more than five minutes off; complain long before.
TOLERATED_SKEW = 5.0


def doctor(ctx: typer.Context) -> int:
    """Check everything the service needs, from settings to gpg; say what to do about each failure."""
    logging.disable(logging.WARNING)
    try:
        settings = context.of(ctx).settings(startup_timeout=PATIENCE)
    except SettingsError as error:
        findings = [Finding("settings", str(error), "correct it; `heliograph config` explains every setting")]
    else:
        findings = uvloop.run(_examine(settings))
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        typer.echo(f"{'FAIL' if finding.advice else 'ok  '}  {finding.name:{width}}  {finding.detail}")
        if finding.advice:
            typer.echo(f"      {'':{width}}  -> {finding.advice}")
    failed = sum(bool(finding.advice) for finding in findings)
    typer.echo(f"{failed} of {len(findings)} checks failed" if failed else f"all {len(findings)} checks passed")
    return EXIT_FAILED if failed else EXIT_DONE


async def _examine(settings: Settings) -> list[Finding]:
    return [
        _settings(settings),
        *await _database(settings),
        *await _broker(settings),
        await _tokens(settings),
        await _limits(settings),
        await doctor_signing.gpg(),
        await doctor_signing.signing(settings),
        await doctor_signing.canary(settings),
    ]


def _settings(settings: Settings) -> Finding:
    missing = [name for name in ("database_url", "kafka_bootstrap", "secret_keys") if not getattr(settings, name)]
    if missing:
        advice = "set it in the environment or in the file given with --config; `heliograph config` explains it"
        if "secret_keys" in missing:
            advice += "; a key is made with: echo k1:$(openssl rand -base64 32)"
        return Finding("settings", f"not set: {', '.join(map(variable, missing))}", advice)
    try:
        profile = profiles.load(settings.profile)
    except ProfileError as error:
        return Finding("settings", str(error), "correct the profile, or name another")
    return Finding("settings", f"{settings.env}, profile {profile.name}")


async def _database(settings: Settings) -> list[Finding]:
    if settings.database_url is None:
        return []
    address = address_of(settings.dsn())
    try:
        pool = await open_pool(settings, size=1)
    except UnreachableError as error:
        return [Finding("database", str(error), "start PostgreSQL there, or correct HELIOGRAPH_DATABASE_URL")]
    except Exception as error:  # a refused login, a missing database: the server's own words say which
        return [Finding("database", f"{address}: {reason_of(error)}", "correct HELIOGRAPH_DATABASE_URL")]
    try:
        async with pool.acquire() as connection:
            version = str(connection.get_server_version().major)
            found, needed = await runner.current(connection), runner.head()
            seconds = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
            ready = (
                [] if runner.is_behind(found) else [await _rights(connection), *await _secrets(connection, settings)]
            )
    except TRANSIENT as error:
        return [Finding("database", f"{address}: {reason_of(error)}", "see the server's log")]
    finally:
        await pool.close()
    return [
        Finding("database", f"PostgreSQL {version} at {address}"),
        Finding(
            "schema",
            f"at migration {found or 'none'}, this release needs {needed}",
            "run heliograph migrate" if runner.is_behind(found) else "",
        ),
        *ready,
        _clock(abs(SystemClock().unix() - seconds)),
    ]


async def _rights(connection: Connection) -> Finding:
    """A user who may not write lets the service start and then do nothing."""
    if await connection.fetchval("SHOW transaction_read_only") == "on":
        advice = "name the primary in HELIOGRAPH_DATABASE_URL, and a user without default_transaction_read_only"
        return Finding("rights", "the session is read-only", advice)
    if others := await connection.fetchval(NOT_OWNED):
        advice = "name their owner in HELIOGRAPH_DATABASE_URL, or make this user a member of that role"
        return Finding("rights", f"this user does not own: {others}", advice)
    return Finding("rights", "owns its tables, may write")


async def _secrets(connection: Connection, settings: Settings) -> list[Finding]:
    """A key that opens nothing fails every attempt, and the customers' deliveries run out of retries."""
    if settings.secret_keys is None:  # said by the first finding
        return []
    try:
        faults = await endpoint_secrets.unopened(connection, Vault(settings.keys()))
    except asyncpg.InsufficientPrivilegeError:  # said by `rights`
        return []
    advice = "put the key back into HELIOGRAPH_SECRET_KEYS, behind the first one, and restart" if faults else ""
    return [Finding("secrets", "; ".join(faults) or "one of each key opens", advice)]


def _clock(skew: float) -> Finding:
    """Compare with the database's: due times are its, timestamps and signatures are this machine's."""
    detail = f"{skew:.1f} s apart from the database's"
    advice = "synchronise this machine and the database's (chrony, systemd-timesyncd)"
    return Finding("clock", detail, "" if skew < TOLERATED_SKEW else advice)


async def _broker(settings: Settings) -> list[Finding]:
    if not settings.kafka_bootstrap:
        return []
    address = ",".join(settings.kafka_bootstrap)
    roles = frozenset(ROLES)
    try:
        access = await broker.look(settings, groups_of(settings, roles))
    except (RefusedError, SettingsError) as error:
        return [Finding("broker", str(error), "correct it; `heliograph config` explains every setting")]
    except UnreachableError as error:
        advice = "start Kafka there, or correct HELIOGRAPH_KAFKA_BOOTSTRAP and HELIOGRAPH_KAFKA_SECURITY_PROTOCOL"
        return [Finding("broker", str(error), advice)]
    needs = needs_of(settings, roles)
    missing = ", ".join(sorted(needs.keys() - access.topics.keys()))
    denied = access.denied(needs)
    return [
        Finding("broker", f"Kafka at {address}"),
        Finding("topics", f"missing: {missing}", "create them, or let this user see them (ACL DESCRIBE)")
        if missing
        else Finding("topics", ", ".join(sorted(needs))),
        *(
            [Finding("access", f"denied: {', '.join(denied)}", "allow it with an ACL (kafka-acls.sh)")]
            if denied
            else []
        ),
        *([await _compaction(settings)] if settings.kafka_topic_credentials in access.topics else []),
    ]


async def _compaction(settings: Settings) -> Finding:
    """A topic that is not compacted forgets keys that are still in force."""
    topic = settings.kafka_topic_credentials
    try:
        is_compacted = await broker.is_compacted(settings, topic)
    except broker.TRANSIENT as error:
        return Finding("credentials", f"the broker does not tell how {topic} is kept ({reason_of(error)})")
    advice = f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=compact"
    return Finding(
        "credentials", f"{topic} is {'' if is_compacted else 'not '}compacted", "" if is_compacted else advice
    )


async def _tokens(settings: Settings) -> Finding:
    """Who is believed; published keys are fetched once, as the service does."""
    if settings.jwt_jwks_url is None:
        return Finding("tokens", "HS256" if settings.jwt_secret else "none are believed: API keys alone let in")
    try:
        async with asyncio.timeout(PATIENCE):
            usable = await KeySet.of(settings, settings.jwt_jwks_url, SystemClock()).count()
    except Exception as error:  # whatever network or document, it is what the service would meet
        advice = "start what publishes it, or correct HELIOGRAPH_JWT_JWKS_URL"
        return Finding("tokens", f"no key set at {settings.jwt_jwks_url} ({reason_of(error)})", advice)
    advice = "publish a signing key of one of JWT_ALGORITHMS there"
    return Finding("tokens", f"{usable} keys can be used of {settings.jwt_jwks_url}", "" if usable else advice)


async def _limits(settings: Settings) -> Finding:
    """Where requests are counted; its address may hold a password and is not shown."""
    url = settings.shared_store()
    if url is None:
        return Finding("limits", "counted in each process")
    store = SharedCounters(url)
    try:
        async with asyncio.timeout(PATIENCE):
            await store.ping()
    except Exception as error:  # whatever redis-py raises: until it is mended each process counts for itself
        advice = "start it, or correct HELIOGRAPH_RATELIMIT_STORE"
        return Finding("limits", f"RATELIMIT_STORE does not answer ({reason_of(error)})", advice)
    finally:
        await store.aclose()
    return Finding("limits", "RATELIMIT_STORE answers")
