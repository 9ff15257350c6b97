"""The documents' commands, run word by word: what a README shows is what a stranger gets."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.process import ROOT, started

FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[\w-]+)?\)")
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


def blocks(document: str, language: str) -> list[str]:
    return [text for found, text in FENCE.findall((ROOT / document).read_text()) if found == language]


async def test_the_readme_by_hand(tmp_path: Path) -> None:
    scripts = blocks("README.md", "bash")
    assert len(scripts) == 2
    (example,) = blocks("README.md", "json")
    assert ".venv/bin/heliograph serve --embedded\n" in blocks("README.md", "console")
    async with started("serve", "--embedded") as service:
        ready = await service.ready()
        assert list(ready) == list(orjson.loads(example))
        child = await asyncio.create_subprocess_exec(
            "bash", "-euxc", "".join(scripts),
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                 "DATABASE": ready["database"], "API": ready["api"]},
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(60):
            output, _ = await child.communicate()
    shown = output.decode()
    assert child.returncode == 0, shown
    assert "checks passed" in shown
    assert '"secret":"whsec_' in shown
    assert "1 server.provisioned produced" in shown
    assert "1 topup.confirmed produced" in shown
    assert '"events":["topup.*","canary.updated"]' in shown
    assert '"meta":{"page":1,"per_page":20,"total":2,"total_pages":1}' in shown
    assert orjson.loads((tmp_path / "openapi.json").read_bytes())["openapi"].startswith("3.1")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_setting_a_document_names_exists() -> None:
    from runtime.settings import Settings, variable  # noqa: PLC0415 - only this test is about settings

    known = {variable(name) for name in Settings.model_fields} | {"HELIOGRAPH_CONFIG", "HELIOGRAPH_KAFKA_TOPIC_"}
    for document in DOCUMENTS:
        named = set(re.findall(r"HELIOGRAPH_[A-Z_]+", document.read_text())) - {"HELIOGRAPH_TEST_BROKER", "HELIOGRAPH_"}
        assert named <= known, f"{document.name}: {named - known}"
