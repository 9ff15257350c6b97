"""What is installed: not modules alone, but every template, catalogue, style, statement, profile and migration too."""

from __future__ import annotations

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
PACKAGES = ("consumers", "feeds", "migrations", "publisher", "runtime", "signer")
#: What is read while it runs; one of each kind.
READ = {
    "feeds/pages/base.html",
    "feeds/pages/messages/sv.po",
    "feeds/pages/site.css",
    "feeds/pages/site.js",
    "feeds/pages/icon.svg",
    "migrations/script.py.mako",
    "publisher/api/explorer/swagger_ui/swagger-ui-bundle.js",
    "publisher/profiles/nordbastion.toml",
    "publisher/queue.sql",
    "signer/host_statements.toml",
}


def test_the_wheel_has_every_file_of_the_packages_and_no_other() -> None:
    """The build backend is asked for its list: what it would pack, without packing it."""
    packed = {each.distribution_path for each in WheelBuilder(str(ROOT)).recurse_included_files()}
    there = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there >= READ
    assert any(each.startswith("migrations/versions/") for each in there)
    assert packed == there
