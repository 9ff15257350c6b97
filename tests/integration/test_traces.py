"""Traces and logs of the whole service: one event from its record to its result, as a collector and an operator see it;
and that nothing of a customer is in what either of them, or a scrape, gets."""

from __future__ import annotations

import io
import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
import pytest

from consumers import broker
from consumers.broker import Outgoing
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from publisher.roles import ROLES
from runtime.logs import JsonFormatter, TextFormatter
from tests.support.api import Running, running
from tests.support.collector import Collector
from tests.support.commands import get
from tests.support.jobs import a_job, a_message
from tests.support.process import until
from tests.support.receiver import Receiver
from tests.support.workers import Raising, a_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from publisher.delivery.transport import Transport
    from runtime.settings import Settings
    from tests.support.collector import Span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ALL = [role for role in ROLES if role != "sign"]
#: Two attempts within moments; every request that was decided nothing about is traced.
SETTINGS: dict[str, Any] = {
    "retries": 1,
    "attempt_timeout": 1,
    "window": 2.05,
    "claim_interval": 0.02,
    "trace_sample": 1.0,
    "log_attempts": "all",
    "log_requests": "all",
}


class Heard:
    """All that is logged, in both formats."""

    def __init__(self) -> None:
        self._texts = [io.StringIO(), io.StringIO()]
        self.handlers: list[logging.Handler] = [logging.StreamHandler(text) for text in self._texts]
        self.handlers[0].setFormatter(JsonFormatter())
        self.handlers[1].setFormatter(TextFormatter(show_traceback=True))

    @property
    def text(self) -> str:
        return "".join(text.getvalue() for text in self._texts)

    def lines(self, message: str) -> list[dict[str, Any]]:
        lines = map(orjson.loads, self._texts[0].getvalue().splitlines())
        return [line for line in lines if line["message"] == message]


@pytest.fixture
def heard() -> Iterator[Heard]:
    ours = [logging.getLogger(name) for name in ("consumers", "feeds", "publisher", "runtime", "signer")]
    made = Heard()
    logging.getLogger().handlers += made.handlers
    for logger in ours:
        logger.setLevel(logging.DEBUG)
    yield made
    for logger in ours:
        logger.setLevel(logging.NOTSET)
    for handler in made.handlers:
        logging.getLogger().removeHandler(handler)


async def produce(settings: Settings, *records: Outgoing) -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    await producer.send(records)
    await producer.stop()


def an_event(settings: Settings, account: str, *, headers: dict[str, str], **data: object) -> Outgoing:
    made = cloud_event(
        settings.kafka_topic_events, "server.power.on", time=datetime(2026, 11, 1, tzinfo=UTC), source="/test",
        account=account, data=CATALOGUE["server.power.on"].EXAMPLE | data,
    )  # fmt: skip
    return made._replace(headers=[*made.headers, *((name, value.encode()) for name, value in headers.items())])


async def subscribed(here: Running, receiver: Receiver, account: str, path: str = "") -> str:
    """Subscribe `account` to everything; return the webhook's id."""
    wish = {"url": receiver.url + path, "events": ["*"], "description": "canary-description"}
    made = (await here.caller(account)("POST", "/v1/webhooks", wish)).json
    receiver.trust(made["secret"])
    return str(made["id"])


async def delivered(here: Running, account: str, webhook_id: str) -> dict[str, Any]:
    """Wait until the webhook's one delivery has ended; return its record."""
    found: dict[str, Any] = {}

    async def has_ended() -> bool:
        listed = await here.caller(account)("GET", f"/v1/webhooks/{webhook_id}/deliveries")
        for each in listed.json["data"]:
            found.update(each)
        return found.get("status") == "delivered"

    await until(has_ended, "the delivery has ended")
    shown = await here.caller(account)("GET", f"/v1/webhooks/{webhook_id}/deliveries/{found['id']}")
    record: dict[str, Any] = shown.json
    return record


def of_trace(collector: Collector, name: str) -> list[Span]:
    return [span for span in collector.named(name) if span.trace == TRACE]


class Seen(NamedTuple):
    """What everybody had of a run: the collector, the customer, whoever scrapes."""

    topic: str
    collector: Collector
    receiver: Receiver
    record: dict[str, Any]
    metrics: str


async def a_run(settings: Settings) -> Seen:
    """Deliver one event at the second attempt, with a customer's words everywhere; make requests that fail."""
    account = "acct_canary-account"
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "v=canary-state", "baggage": "user=canary-baggage"}
    poison = Outgoing(settings.kafka_topic_events, b"canary-key", b'{"canary-bytes": 1', [("x", b"canary-header")])
    async with Collector().listening() as collector, Receiver().listening() as receiver:
        receiver.answers.append(503)
        receiver.answer_headers["x-answer"] = "canary-answer"
        async with running(settings, *ALL, otlp_endpoint=collector.url, **SETTINGS) as here:
            webhook_id = await subscribed(here, receiver, account, "/canary-path?token=canary-query")
            await produce(settings, poison, an_event(settings, account, headers=headers, note="canary-payload"))
            record = await delivered(here, account, webhook_id)
            caller = here.caller(account).with_(User_Agent="canary-agent", Idempotency_Key="canary-idempotency")
            assert (await caller("GET", "/v1/webhooks/canary-id")).status == 404
            assert (await caller("GET", "/canary-unrouted?canary-search")).status == 404
            assert (await caller("POST", "/v1/webhooks", {"url": "canary-url", "events": ["*"]})).status == 422
            assert (await here.nobody.bearer("canary-token")("GET", "/v1/webhooks")).status == 401
            metrics = await get(f"{here.admin}/metrics")
    return Seen(settings.kafka_topic_events, collector, receiver, record, metrics.text)


async def test_an_event_is_one_trace_with_nothing_of_a_customer_in_it(settings: Settings, heard: Heard) -> None:
    seen = await a_run(settings)  # what was left was exported at the stop
    _is_one_trace(seen)
    _is_told_to_the_customer_alone(seen, heard)
    _requests_have_traces_of_their_own(seen, heard)
    _has_nothing_of_a_customer(seen, heard)


def _is_one_trace(seen: Seen) -> None:
    [consumed] = of_trace(seen.collector, f"process {seen.topic}")
    [fanned_out] = of_trace(seen.collector, "fan-out")
    failed, succeeded = of_trace(seen.collector, "POST")
    records = of_trace(seen.collector, "record")
    kinds = [span.kind for span in (consumed, fanned_out, failed, records[0])]
    assert kinds == ["CONSUMER", "INTERNAL", "CLIENT", "INTERNAL"]
    assert {span.service for span in seen.collector.spans} == {"heliograph"}
    assert consumed.parent == SPAN
    assert fanned_out.parent == consumed.id
    assert failed.parent == succeeded.parent == fanned_out.id  # the retry was claimed from the database
    assert [span.links for span in records] == [[failed.id], [succeeded.id]]
    assert [span.parent for span in records] == [failed.id, succeeded.id]
    assert (failed.attributes["error.type"], failed.attributes["http.response.status_code"]) == ("5xx", 503)
    assert (succeeded.attributes["http.request.resend_count"], succeeded.attributes["url.full"]) == (1, "")


def _is_told_to_the_customer_alone(seen: Seen, heard: Heard) -> None:
    """The trace's id is in the customer's record, which is how an operator finds the lines; nothing of it is sent."""
    assert len(seen.receiver.received) == 2
    for sent in seen.receiver.received:
        assert {"traceparent", "tracestate", "baggage"}.isdisjoint(sent.headers)
    assert seen.record["trace_id"] == TRACE
    assert [(line["trace_id"], line["result"], line["state"]) for line in heard.lines("attempt")] == [
        (TRACE, "5xx", "retry"),
        (TRACE, "2xx", "delivered"),
    ]


def _requests_have_traces_of_their_own(seen: Seen, heard: Heard) -> None:
    spans = {span.trace: span for span in seen.collector.named("POST /v1/webhooks")}
    lines = [line for line in heard.lines("request") if line["method"] == "POST"]
    assert [(line["route"], line["status"]) for line in lines] == [("/v1/webhooks", 201), ("/v1/webhooks", 422)]
    assert [spans[line["trace_id"]].attributes["http.response.status_code"] for line in lines] == [201, 422]
    assert {(span.kind, span.parent) for span in spans.values()} == {("SERVER", "")}


def _has_nothing_of_a_customer(seen: Seen, heard: Heard) -> None:
    said = {
        "logs": heard.text,
        "metrics": seen.metrics,
        "traces": b"".join(seen.collector.bodies).decode("latin-1"),
    }
    assert heard.text.count("dead letter") == 2  # in each format
    address = seen.receiver.url.removeprefix("http://").partition("/")[0]
    for where, text in said.items():
        assert text, where
        assert re.findall(r"canary-[a-z]+", text) == [], where
        assert address not in text, where
        assert "whsec_" not in text, where
    assert seen.record["webhook_id"] not in said["metrics"] + said["traces"]


async def test_whatever_is_logged_within_an_attempt_names_its_trace(heard: Heard) -> None:
    message = a_message()._replace(traceparent=f"00-{TRACE}-{SPAN}-00")
    async with a_worker(transport=cast("Transport", Raising(RuntimeError("a bug")))) as bench:
        bench.queue.add(a_job(message=message))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "retry"})
    [line] = heard.lines("attempt of delivery dlv_1 failed inside the service")
    assert line["trace_id"] == TRACE
