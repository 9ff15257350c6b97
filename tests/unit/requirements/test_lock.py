"""The lock, read: what is pinned, what of it the image installs, and who needs whom."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from requirements import lock
from requirements.lock import LockError, Pinned

A, B = "a" * 64, "b" * 64
TEXT = f"""\
cffi==2.1.1 ; platform_python_implementation != 'PyPy' \\
    --hash=sha256:{B} \\
    --hash=sha256:{A}
    # via cryptography
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:{A}
PyJWT[crypto]==2.15.1 \\
    --hash=sha256:{A}
    # via
    #   heliograph
"""


def test_a_line_is_a_name_a_version_a_marker_and_hashes() -> None:
    cffi, colorama, jwt = lock.parse(TEXT)
    assert (cffi.name, cffi.version, cffi.hashes) == ("cffi", "2.1.1", (A, B))
    assert str(colorama.requirement.marker) == 'sys_platform == "win32"'
    assert (jwt.name, jwt.version) == ("pyjwt", "2.15.1")


@pytest.mark.parametrize("line", ["a>=1 --hash=sha256:00", "a==1,==2 --hash=sha256:00", "a==1", "a --hash=sha256:00"])
def test_what_is_not_pinned_by_hash_is_refused(line: str) -> None:
    with pytest.raises(LockError, match="is not pinned to one version by its hashes"):
        list(lock.parse(line))


def test_the_image_takes_what_is_for_its_platform() -> None:
    names = {each.name for each in lock.of_image()}
    assert {"aiohttp", "uvloop", "cffi"} <= names
    assert "colorama" not in names


def test_what_is_installed_has_to_be_what_is_locked() -> None:
    with pytest.raises(
        LockError, match=r"^aiohttp: 0\.1 is locked for the image and .+ installed here; run make setup"
    ):
        lock.installed(Pinned(Requirement("aiohttp==0.1"), "0.1", (A,)))
    with pytest.raises(LockError, match=r"^there-is-no-such 1 is locked and not installed; run make setup$"):
        lock.installed(Pinned(Requirement("there-is-no-such==1"), "1", (A,)))


def test_extras_count_where_they_are_asked_for() -> None:
    needs = lock.edges("heliograph", lock.of_image())
    assert {"aiohttp", "asyncpg", "pyjwt"} <= needs["heliograph"]
    assert "pytest" not in needs["heliograph"]  # an extra of ours, which the image has not
    assert "cryptography" in needs["pyjwt"]  # by [crypto]
    assert "aiodns" not in needs["aiohttp"]  # by [speedups], which nobody asks for


def test_everything_locked_is_needed_by_somebody() -> None:
    needs = lock.edges("heliograph", lock.of_image())
    assert set().union(*needs.values()) == needs.keys() - {"heliograph"}


def test_a_need_that_is_not_locked_is_named() -> None:
    with pytest.raises(LockError, match=r"^heliograph needs [\w-]+, which is not locked; run make lock$"):
        lock.edges("heliograph", [])
