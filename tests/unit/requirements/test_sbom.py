"""The bill of materials: valid, complete, and the same every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from publisher import VERSION
from requirements import lock, sbom

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != tuple(map(int, lock.IMAGE["python_version"].split("."))),
    reason="the image's Python makes it",
)


@pytest.fixture(scope="module")
def text() -> str:
    return sbom.render(sbom.build(lock.of_image()))


@pytest.fixture(scope="module")
def document(text: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text)
    return read


def test_its_schema_takes_it(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_it_says_the_same_in_another_process_in_another_order(text: str, tmp_path: Path) -> None:
    file = tmp_path / "made" / "sbom.json"
    environ = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-m", "requirements.sbom", str(file)]
    subprocess.run(command, cwd=lock.ROOT, env=environ, check=True, capture_output=True)
    assert file.read_text() == text


def test_it_has_no_moment_and_a_serial_number_of_its_content(document: dict[str, Any]) -> None:
    assert "timestamp" not in document["metadata"]
    assert uuid.UUID(document["serialNumber"].removeprefix("urn:uuid:")).version == 5
    changed = sbom.build(lock.of_image())
    assert changed.metadata.component is not None
    changed.metadata.component.version = "0"
    assert json.loads(sbom.render(changed))["serialNumber"] != document["serialNumber"]


def test_every_package_of_the_image_is_in_it_with_hashes_and_a_licence(document: dict[str, Any]) -> None:
    by_name = {each["name"]: each for each in document["components"]}
    pinned = lock.of_image()
    assert by_name.keys() == {each.name for each in pinned}
    for each in pinned:
        found = by_name[each.name]
        assert (found["version"], found["purl"]) == (each.version, f"pkg:pypi/{each.name}@{each.version}")
        assert found["licenses"]
        [distribution] = found["externalReferences"]
        assert [hashed["content"] for hashed in distribution["hashes"]] == list(each.hashes)


def test_it_is_about_this_version_and_knows_who_needs_whom(document: dict[str, Any]) -> None:
    ours = document["metadata"]["component"]
    assert (ours["name"], ours["version"], ours["type"]) == ("heliograph", VERSION, "application")
    needs = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert any(each.startswith("pkg:pypi/aiokafka@") for each in needs["heliograph"])
    assert needs.keys() == {"heliograph", *(each["bom-ref"] for each in document["components"])}
