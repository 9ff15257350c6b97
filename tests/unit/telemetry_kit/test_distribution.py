"""What `pip install` of the kit brings: a few files, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from publisher import profiles
from tests.support.process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

KIT = ROOT / "deploy" / "telemetry"
#: What needs a framework, which the API that wants it has.
FRAMEWORKS = {"for_aiohttp"}


def test_the_wheel_has_the_modules_the_profiles_and_no_dependencies(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=KIT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in packed.namelist() if name.endswith("/METADATA"))
        assert "Requires-Dist" not in packed.read(metadata).decode()
        for profile in profiles.shipped():
            shipped = packed.read(f"heliograph_telemetry/profiles/{profile}.toml")
            assert shipped == (profiles.FOLDER / f"{profile}.toml").read_bytes()
        packed.extractall(tmp_path / "installed")
    modules = sorted((KIT / "heliograph_telemetry").rglob("*.py"))
    assert {name for name in names if name.endswith(".py")} == {str(path.relative_to(KIT)) for path in modules}
    assert "heliograph_telemetry/py.typed" in names
    free = [path.stem for path in modules if path.stem not in FRAMEWORKS | {"__init__"}]
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "installed")!r})
import {", ".join(f"heliograph_telemetry.{each}" for each in free)}
print(heliograph_telemetry.Profile.load("nordbastion").window)
"""
    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], check=False, capture_output=True, text=True
    )  # no site-packages: the wheel and the standard library
    assert (alone.stdout, alone.stderr) == ("60\n", "")
