"""`heliograph demo`: what a visitor runs first, on nothing but what is installed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import aiohttp

from consumers.catalogue import DOCUMENTED
from tests.support import gpg
from tests.support.commands import descendants, running
from tests.support.feed_pages import in_shell, shell_lines
from tests.support.process import started

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = "23 of 23 event types delivered, verified and recorded"


async def test_once_it_shows_every_type_and_ends_by_itself() -> None:
    async with started("demo", "--once") as demo:
        await demo.says("serving")
        servers = descendants(demo.child.pid)
        finished = await demo.ended(60)
        assert finished.code == 0, finished
        assert finished.stdout[-1] == SUMMARY
        arrived = sorted(line.split()[1] for line in finished.stdout if line.endswith(" verified"))
        assert arrived == sorted(model.TYPE for model in DOCUMENTED)
        assert finished.stderr == []
        assert demo.left_behind() == []
        assert len(servers) > 2
        assert running(servers) == set()


async def test_it_stays_until_ctrl_c_with_pages_to_look_at(tmp_path: Path) -> None:
    async with started("demo") as demo:
        assert SUMMARY in await demo.says("so far", 60)
        await demo.says("Ctrl-C ends it")
        async with aiohttp.ClientSession() as session:
            for page in ("/status/", "/warrant-canary/", "/peering/", "/pgp/"):
                said = await demo.says(page)
                async with session.get(said.split()[-1]) as answer:
                    assert (answer.status, answer.url.path) == (200, page)
                    if page == "/warrant-canary/":
                        canary = await answer.read()
        with gpg.home() as reader:
            verified = await in_shell(shell_lines(canary), tmp_path, reader.path)
        assert verified.stderr.count("Good signature") == 2, verified
        assert verified.returncode == 0
        demo.send(signal.SIGINT)
        finished = await demo.ended()
        assert (finished.code, finished.stdout[-1], finished.stderr) == (0, SUMMARY, [])
        assert demo.left_behind() == []
