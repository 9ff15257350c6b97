"""The fault table, PostgreSQL: killed, frozen, out of disk, and out of reach in every way a network knows."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.fault_stage import IN_FLIGHT, Stage, a_stage
from tests.support.process import STOP_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.books import Balance
    from tests.support.process import Heliograph

pytestmark = pytest.mark.timeout(600)

#: Longer than a lease, so that what was under way has to be taken up again.
LONG = 8.0
#: Longer than any statement may take (runtime.database.COMMAND_TIMEOUT).
BEYOND_EVERY_TIMEOUT = 75.0
DISK = 160 * 2**20


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with a_stage() as made:
        yield made


async def in_the_middle(stage: Stage) -> tuple[Heliograph, Heliograph]:
    """Start intake and delivery, and return while both have much to do."""
    consume, deliver = await asyncio.gather(stage.serve("consume"), stage.serve("deliver"))
    await stage.produce(2000)
    await stage.arrived(300)
    return consume, deliver


async def nothing_acknowledged(stage: Stage, *services: Heliograph) -> None:
    """See that readiness tells, that no offset is committed meanwhile, and that the processes live."""
    await stage.becomes(503, *services)
    before = await stage.acknowledged()
    await stage.produce(200)
    await asyncio.sleep(LONG)
    assert await stage.acknowledged() == before
    for service in services:
        assert service.child.returncode is None, service.explain("it has ended")
        assert (await stage.health(service))[0] == 503


async def test_postgres_killed_with_sigkill_and_restarted(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    services = await in_the_middle(stage)
    await stage.postgres.kill()
    await nothing_acknowledged(stage, *services)
    await stage.postgres.start()
    await stage.becomes(200, *services)
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


async def test_postgres_frozen_and_thawed(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    services = await in_the_middle(stage)
    stage.postgres.signal(signal.SIGSTOP)
    await nothing_acknowledged(stage, *services)
    stage.postgres.signal(signal.SIGCONT)
    await stage.becomes(200, *services)
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


async def test_postgres_frozen_beyond_every_timeout(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    services = await in_the_middle(stage)
    stage.postgres.signal(signal.SIGSTOP)
    await nothing_acknowledged(stage, *services)
    await asyncio.sleep(BEYOND_EVERY_TIMEOUT)
    stage.postgres.signal(signal.SIGCONT)
    await stage.becomes(200, *services)
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


async def test_sigterm_while_postgres_is_frozen(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    services = await in_the_middle(stage)
    stage.postgres.signal(signal.SIGSTOP)
    for service in services:
        service.send(signal.SIGTERM)
    for service in services:
        assert (await service.ended(STOP_SECONDS)).code == 0, service.explain("not 0")
    stage.postgres.signal(signal.SIGCONT)
    await asyncio.gather(stage.serve("consume"), stage.serve("deliver"))
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


async def test_network_to_postgres_cut(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    services = await in_the_middle(stage)
    stage.database.cut()
    await nothing_acknowledged(stage, *services)
    stage.database.heal()
    await stage.becomes(200, *services)
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


async def test_network_to_postgres_silent_and_open_connections_lost(
    stage: Stage, count: Callable[[Balance, int], None]
) -> None:
    """No end learns that the other has gone: what was open hangs, what is opened anew gets through."""
    services = await in_the_middle(stage)
    stage.database.lose()
    await nothing_acknowledged(stage, *services)
    stage.database.heal()
    await stage.becomes(200, *services, seconds=180)
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


async def test_network_to_postgres_slow(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    consume, deliver = await asyncio.gather(stage.serve("consume"), stage.serve("deliver"))
    stage.database.throttle(100_000)
    await stage.produce(500)
    await stage.arrived(100)
    stage.database.heal()
    await stage.becomes(200, consume, deliver)
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


# --- out of disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk, which takes a superuser."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"POSTGRESQL OUT OF DISK NOT TESTED: {mounted.stderr.strip() or 'mount failed'} (run it as root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on a disk; return the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return ballast


async def test_postgres_out_of_disk(disk: Path, count: Callable[[Balance, int], None]) -> None:
    """Whether PostgreSQL refuses what it is to write, or ends because it cannot write its log, nothing is lost."""
    async with a_stage(data=disk) as stage:
        services = await in_the_middle(stage)
        ballast = fill(disk)
        await stage.produce(4000)
        await services[0].says("records not handled")
        before = await stage.acknowledged()
        await asyncio.sleep(LONG)
        assert await stage.acknowledged() == before
        ballast.unlink()
        if not stage.postgres.is_running:
            await stage.postgres.stop()
            await stage.postgres.start()

        async def is_accepting() -> bool:
            return (await stage.health(services[0]))[0] == 200

        await until(is_accepting, "ready again")
        count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)
