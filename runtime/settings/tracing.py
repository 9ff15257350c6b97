"""Settings of tracing: where spans go and how many there are."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings


class TracingSettings(BaseSettings):
    """Traces, which are recorded only where somebody takes them."""

    otlp_endpoint: str | None = Field(
        None, description="collector of traces, OTLP over HTTP, such as http://127.0.0.1:4318 (no traces when unset)"
    )
    trace_sample: float = Field(
        0.01, ge=0, le=1, description="share of events and requests that is traced where their sender decided nothing"
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _otlp_endpoint(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_url = re.fullmatch(r"https?://[!-~]+", value) is not None and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url:
            raise ValueError("must be http(s)://host[:port][/path]")
        if "@" in parts.netloc or parts.query or parts.fragment:
            msg = "takes no credentials, query or fragment (OTEL_EXPORTER_OTLP_HEADERS holds what a collector asks for)"
            raise ValueError(msg)
        return value
