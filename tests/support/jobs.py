"""Endpoints, messages and jobs with everything filled in, for tests that care about one field of them."""

from __future__ import annotations

import base64

from yarl import URL

from publisher.endpoints import Endpoint
from publisher.queue import Job, Message
from publisher.secrets import PREFIX

KEY = bytes(range(32))
SECRET = PREFIX + base64.b64encode(KEY).decode()
BODY = (
    b'{"id":"msg_1","type":"server.power.on","timestamp":"2026-11-01T00:00:00Z","sequence":1,"data":{"bastion":"STO"}}'
)


def an_endpoint(
    url: str | URL = "http://127.0.0.1:9/hooks",
    *,
    endpoint_id: str = "we_1",
    account: str = "acct_1",
    keys: tuple[bytes, ...] = (KEY,),
) -> Endpoint:
    return Endpoint(account=account, id=endpoint_id, version=1, url=URL(url), filters=frozenset({"*"}), keys=keys)


def a_message(message_id: str = "msg_1", *, account: str = "acct_1", body: bytes = BODY) -> Message:
    return Message(account, message_id, "server.power.on", body, None)


def a_job(
    job_id: str = "dlv_1",
    *,
    lease: int = 7,
    endpoint: Endpoint | None = None,
    message: Message | None = None,
    attempt: int = 1,
    tried_for: float = 0.0,
) -> Job:
    return Job(
        id=job_id,
        lease=lease,
        endpoint=endpoint or an_endpoint(),
        message=message or a_message(),
        attempt=attempt,
        tried_for=tried_for,
    )
