"""The transport as tests use it: short of patience, and allowed to call this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publisher.delivery.outcome import Result, result_of_error, result_of_status
from publisher.delivery.transport import Response, Transport
from tests.support.egress import LOOPBACK
from tests.support.jobs import BODY

if TYPE_CHECKING:
    from yarl import URL

    from publisher.delivery.egress import Rules

USER_AGENT = "Heliograph/0 (+https://heliograph.example)"
HEADERS = {"webhook-id": "msg_1", "webhook-timestamp": "1793491200", "webhook-signature": "v1,c2lnbmF0dXJl"}


def a_transport(*, timeout: float = 5.0, response_bytes: int = 16_384, rules: Rules = LOOPBACK) -> Transport:
    return Transport(rules, timeout=timeout, response_bytes=response_bytes, user_agent=USER_AGENT)


async def post(transport: Transport, url: URL, body: bytes = BODY) -> Response:
    return await transport.post(url, HEADERS, body)


async def attempt(transport: Transport, url: URL) -> Result:
    """Make one attempt and name its result, as the worker does."""
    try:
        response = await post(transport, url)
    except Exception as error:
        return result_of_error(error)
    return result_of_status(response.status)
