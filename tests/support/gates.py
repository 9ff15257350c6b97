"""A gate with small limits, endpoints by name, and attempts that begin and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publisher.delivery.gate import Limits
from tests.support.jobs import a_job, an_endpoint

if TYPE_CHECKING:
    from publisher.delivery.gate import Gate
    from publisher.endpoints import Endpoint
    from publisher.queue import Job

LIMITS = Limits(per_endpoint=8, per_account=12, unknown=2, stall=2, share=0.7, minimum=10, window=300, probe=30)


def endpoint(name: str = "we_1", account: str = "acct_1") -> Endpoint:
    return an_endpoint(endpoint_id=name, account=account)


def job(number: int, to: Endpoint | None = None) -> Job:
    return a_job(f"dlv_{number}", endpoint=to)


def start(gate: Gate, each: Job, *, is_fresh: bool = False) -> Job:
    gate.hold(each)
    gate.start(each, is_fresh=is_fresh)
    return each


def end(gate: Gate, each: Job, *, succeeded: bool, is_fresh: bool = False) -> None:
    gate.end(each, is_fresh=is_fresh, succeeded=succeeded)
    gate.let_go(each)


def run(gate: Gate, count: int, *, succeeded: bool, to: Endpoint | None = None) -> None:
    for number in range(count):
        end(gate, start(gate, job(number, to)), succeeded=succeeded)
