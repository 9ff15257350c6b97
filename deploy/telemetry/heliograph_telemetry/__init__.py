"""Limits for a compute API, and what they decided told to Heliograph: the standard library is all it needs.

    limits = Limits(Profile.load("nordbastion"))
    setup(app, limits, caller=who)              # heliograph_telemetry.for_aiohttp
    app = RateLimited(app, limits, caller=who)  # heliograph_telemetry.for_asgi
    async with Telemetry(limits, publish): ...

A request goes: `caller` says whose it is, `policy` what it counts as -> `limiter` decides -> `windows` counts the
decision -> `telemetry` publishes windows that are over. Who called stays in this process, as a keyed hash, for two
windows at most; what is published are numbers. The service's own limiter is the twin of this one, and a test holds the
two to the same answers.
"""

from heliograph_telemetry.callers import Caller
from heliograph_telemetry.limits import Limits
from heliograph_telemetry.profile import Profile
from heliograph_telemetry.records import Check, Report
from heliograph_telemetry.telemetry import Telemetry

__all__ = ["Caller", "Check", "Limits", "Profile", "Report", "Telemetry"]
