"""`openapi` and `asyncapi` print JSON and nothing else, of the configuration they are given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from publisher import profiles
from publisher.api.openapi import document, encoded

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Command

TINY = Path(__file__).parents[2] / "support" / "profiles" / "tiny.toml"


@pytest.mark.parametrize("command", ["openapi", "asyncapi"])
def test_there_is_json_on_stdout_alone(heliograph: Command, command: str) -> None:
    said = heliograph(command)
    assert (said.code, said.stderr) == (0, "")
    assert command in orjson.loads(said.stdout)


def test_openapi_is_what_the_service_serves(heliograph: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_PROFILE", str(TINY))
    monkeypatch.setenv("HELIOGRAPH_PUBLIC_URL", "https://api.tiny.example")
    said = heliograph("openapi")
    served = encoded(document(profiles.load(str(TINY)), "https://api.tiny.example"))
    assert orjson.loads(said.stdout) == orjson.loads(served)


def test_asyncapi_names_the_topics_that_are_configured(heliograph: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_KAFKA_TOPIC_EVENTS", "their.events")
    channels = orjson.loads(heliograph("asyncapi").stdout)["channels"]
    assert channels["events"]["address"] == "their.events"


def test_a_profile_that_speaks_of_what_is_not_there_is_refused(
    heliograph: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(TINY.read_text().replace('operation = "list_recoveries"', 'operation = "none"'))
    monkeypatch.setenv("HELIOGRAPH_PROFILE", str(broken))
    said = heliograph("openapi")
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith("heliograph: HELIOGRAPH_PROFILE: tiny: deprecations.0.operation: there is no ")
    assert said.stderr.count("\n") == 1
