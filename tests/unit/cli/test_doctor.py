"""The doctor's own judgements; that it meets real servers is tested in tests/acceptance/test_operator.py."""

from __future__ import annotations

import pytest

from publisher.cli import doctor
from runtime import settings


@pytest.mark.parametrize(("skew", "is_fine"), [(0.0, True), (4.9, True), (5.0, False), (600.0, False)])
def test_a_clock_apart_from_the_databases_is_a_failure(skew: float, *, is_fine: bool) -> None:
    finding = doctor._clock(skew)
    assert finding.detail == f"{skew:.1f} s apart from the database's"
    assert (finding.advice == "") is is_fine


def test_every_setting_that_is_missing_is_named_at_once() -> None:
    finding = doctor._settings(settings.load(environ={"HELIOGRAPH_KAFKA_BOOTSTRAP": "a:1"}))
    assert finding.detail == "not set: HELIOGRAPH_DATABASE_URL, HELIOGRAPH_SECRET_KEYS"
    assert "openssl rand -base64 32" in finding.advice


async def test_keys_that_cannot_be_fetched_are_a_finding() -> None:
    url = "http://127.0.0.1:1/jwks"
    given = settings.load(environ={}, env="development", jwt_jwks_url=url, jwt_issuer="panel", jwt_audience="api")
    found = await doctor._tokens(given)
    assert found.detail.startswith("no key set at http://127.0.0.1:1/jwks (")
    assert found.advice == "start what publishes it, or correct HELIOGRAPH_JWT_JWKS_URL"
    assert (await doctor._tokens(settings.load(environ={}))).advice == ""


async def test_a_store_that_does_not_answer_is_a_finding_without_its_password() -> None:
    found = await doctor._limits(settings.load(environ={}, ratelimit_store="redis://:hunter2@127.0.0.1:1/0"))
    assert found.detail.startswith("RATELIMIT_STORE does not answer (")
    assert "hunter2" not in found.detail
    assert found.advice == "start it, or correct HELIOGRAPH_RATELIMIT_STORE"
    assert (await doctor._limits(settings.load(environ={}))).advice == ""
