"""`heliograph demo`: what a visitor runs first, on nothing but what is installed."""

from __future__ import annotations

import signal

from consumers.catalogue import DOCUMENTED
from tests.support.commands import descendants, running
from tests.support.process import started

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


async def test_it_stays_until_ctrl_c() -> None:
    async with started("demo") as demo:
        assert SUMMARY in await demo.says("so far", 60)
        await demo.says("Ctrl-C ends it")
        demo.send(signal.SIGINT)
        finished = await demo.ended()
        assert (finished.code, finished.stdout[-1], finished.stderr) == (0, SUMMARY, [])
        assert demo.left_behind() == []
