"""The doctor's own judgements; that it meets real servers is tested in tests/acceptance/test_operator.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher.cli import doctor
from runtime import settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("skew", "is_fine"), [(0.0, True), (4.9, True), (5.0, False), (600.0, False)])
def test_a_clock_apart_from_the_databases_is_a_failure(skew: float, *, is_fine: bool) -> None:
    finding = doctor._clock(skew)
    assert finding.detail == f"{skew:.1f} s apart from the database's"
    assert (finding.advice == "") is is_fine


@pytest.mark.parametrize(
    ("output", "detail", "is_fine"),
    [
        ("gpg (GnuPG) 2.4.4", "GnuPG 2.4.4 at ", True),
        ("gpg (GnuPG) 2.2.0", "GnuPG 2.2.0 at ", True),
        ("gpg (GnuPG) 2.1.9", "GnuPG 2.1.9 at ", False),
        ("gpg (GnuPG) 1.4.23", "GnuPG 1.4.23 at ", False),
    ],
)
def test_gpg_must_be_new_enough(tmp_path: Path, output: str, detail: str, *, is_fine: bool) -> None:
    gpg = tmp_path / "gpg"
    gpg.write_text(
        f"#!/bin/sh\necho '[GNUPG:] VERSION'\necho 'cfg:version:{output.rpartition(' ')[2]}'\necho '{output}'\n"
    )
    gpg.chmod(0o755)
    finding = doctor._gpg(lambda _: str(gpg))
    assert finding.detail.startswith(detail)
    assert (finding.advice == "") is is_fine


def test_no_gpg_and_a_broken_one_are_failures(tmp_path: Path) -> None:
    broken = tmp_path / "gpg"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    assert doctor._gpg(lambda _: None).detail == "not found in PATH"
    finding = doctor._gpg(lambda _: str(broken))
    assert finding.detail.startswith(f"{broken} does not run (")
    assert finding.advice.startswith("install GnuPG")


def test_every_setting_that_is_missing_is_named_at_once() -> None:
    finding = doctor._settings(settings.load(environ={"HELIOGRAPH_KAFKA_BOOTSTRAP": "a:1"}))
    assert finding.detail == "not set: HELIOGRAPH_DATABASE_URL, HELIOGRAPH_SECRET_KEYS"
    assert "openssl rand -base64 32" in finding.advice
