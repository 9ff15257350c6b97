"""The units: systemd takes them, finds them closed, and what they name is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.settings import CONFIG_VARIABLE, Settings, variable

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "deploy" / "systemd"
SERVICES = ["heliograph@.service", "heliograph-migrate.service", "heliograph-signer.service"]
#: Tenths of systemd's exposure level, 0 to 100, that a unit may reach: one with a network, and one without.
MOST_EXPOSED = {"heliograph@.service": 12, "heliograph-migrate.service": 11, "heliograph-signer.service": 6}
PROGRAM = re.compile(r"^(Exec\w+=)/opt/heliograph/bin/(\w+)", re.MULTILINE)
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs that are there."""
    for unit in UNITS.iterdir():
        instance = unit.name.replace("@.", "@main.")
        (tmp_path / instance).write_text(PROGRAM.sub(r"\1/bin/true", unit.read_text()))
    return tmp_path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_takes_the_units(units: Path) -> None:
    verified = analyze("verify", *sorted(units.iterdir()))
    assert verified.returncode == 0, verified.stderr
    assert verified.stderr == ""


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_is_as_closed_as_it_can_be(unit: str, units: Path) -> None:
    name = unit.replace("@.", "@main.")
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED[unit]}", units / name)
    assert "Overall exposure level" in judged.stdout, judged.stderr
    assert judged.returncode == 0, judged.stdout


def test_every_service_is_judged() -> None:
    assert {path.name for path in UNITS.glob("*.service")} == set(SERVICES) == set(MOST_EXPOSED)


@pytest.mark.parametrize("unit", SERVICES)
def test_what_a_unit_runs_is_installed_and_what_it_sets_is_a_setting(unit: str) -> None:
    text = (UNITS / unit).read_text()
    assert {program for _, program in PROGRAM.findall(text)} <= {"heliograph", "python"}
    known = {variable(name) for name in Settings.model_fields} | {CONFIG_VARIABLE}
    assert set(re.findall(r"HELIOGRAPH_[A-Z_]+", text)) <= known


def test_secrets_are_handed_over_as_files_and_only_what_signs_is_without_a_network() -> None:
    for unit in SERVICES:
        text = (UNITS / unit).read_text()
        is_signer = unit == "heliograph-signer.service"
        assert ("LoadCredential=heliograph.toml:" in text) is not is_signer
        assert ("PrivateNetwork=yes" in text) is is_signer
        assert not re.search(r"^Environment=.*(SECRET|PASSWORD|DATABASE)", text, re.MULTILINE)
