"""A customer's day with the API over HTTP: every operation on webhooks once, on a service that delivers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from consumers.catalogue import CATALOGUE
from publisher.api.operations import OPERATIONS
from tests.support.api import ACCOUNT, running
from tests.support.live import live, states
from tests.support.process import until
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from runtime.settings import Settings
    from tests.support.api import Answer


async def test_every_operation_is_there_and_does_what_it_says(settings: Settings) -> None:
    used: list[Answer] = []
    async with (
        running(settings, "api", "deliver") as service,
        Receiver().listening() as receiver,
        live(settings.dsn()) as here,
    ):
        caller = service.caller()

        async def call(method: str, path: str, status: int = 200, body: object = None) -> Answer:
            answer = await caller(method, path, body)
            assert answer.status == status, answer
            used.append(answer)
            return answer

        types = await call("GET", "/v1/webhooks/event-types?per_page=100&fields=type")
        assert {each["type"] for each in types.json["data"]} == set(CATALOGUE)
        made = (await call("POST", "/v1/webhooks", 201, {"url": receiver.url, "events": ["*"]})).json
        receiver.trust(made["secret"])
        path = f"/v1/webhooks/{made['id']}"
        assert used[-1].headers["Location"] == path
        assert (await call("GET", "/v1/webhooks")).json["meta"]["total"] == 1
        assert (await call("POST", f"{path}/test")).json["is_success"] is True
        assert (await call("GET", f"{path}/stats")).json["ranges"]
        rotated = (await call("POST", f"{path}/secret", 200, {"overlap": 0})).json
        receiver.trust(rotated["secret"])
        assert (await call("GET", path)).json["updated_at"] > made["updated_at"]

        receiver.answers.append(410)
        [delivery_id] = await here.enqueue(made["id"], account=ACCOUNT)
        await here.until(lambda log: states(log) == ["dropped"], "the receiver wanted no more")
        log = await call("GET", f"{path}/deliveries?filter[status]=dropped")
        assert [each["id"] for each in log.json["data"]] == [delivery_id]
        delivery = f"{path}/deliveries/{delivery_id}"
        assert (await call("GET", delivery)).json["attempt_log"][0]["result"] == "410"
        assert (await call("PATCH", path, 200, {"status": "active"})).json["status"] == "active"
        await call("POST", f"{delivery}/redeliver", 202)
        await here.until(lambda log: states(log) == ["delivered"], "it was sent again")
        started = await call("POST", f"{path}/recover", 202, {"since": "2026-01-01T00:00:00Z"})
        assert (await call("GET", f"{path}/recoveries")).json["data"][0]["id"] == started.json["id"]

        async def is_done() -> bool:
            return bool((await caller("GET", started.headers["Location"])).json["state"] == "done")

        await until(is_done, "the recovery has ended")
        assert (await call("GET", started.headers["Location"])).json["queued"] == 0
        assert (await call("GET", "/v1/transparency/canary/history")).json["data"] == []
        await call("GET", "/v1/transparency/canary/history/1", 404)
        await call("GET", "/v1/transparency/peering/prefixes", 404)
        await call("GET", "/v1/transparency/incidents", 404)
        await call("GET", "/v1/transparency/incidents/inc_1", 404)
        assert (await call("GET", "/v1/transparency/peering/history")).json["data"] == []
        await call("DELETE", path, 204)
        assert (await caller("GET", delivery)).status == 404
    assert len(used) == len(OPERATIONS)  # each once
    assert len(receiver.received) == 3


async def test_of_many_created_at_once_there_are_as_many_as_may_be(settings: Settings) -> None:
    async with running(settings) as service:
        caller = service.caller()
        new = {"url": "https://receiver.example/", "events": ["*"]}
        answers = await asyncio.gather(*(caller("POST", "/v1/webhooks", new) for _ in range(30)))
        assert sorted(answer.status for answer in answers) == [201] * 20 + [422] * 10
        codes = {answer.json["error"]["code"] for answer in answers if answer.status == 422}
        assert codes == {"too_many_webhooks"}
