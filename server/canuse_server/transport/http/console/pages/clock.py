"""Moving the manual clock, which every call of the server goes by."""

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from canuse.testing.v1 import clock_service_pb2 as pb
from canuse_server.api.errors import invalid
from canuse_server.transport.http.console.addresses import HOME, is_own
from canuse_server.transport.http.console.pages.why import read_amount
from canuse_server.transport.http.console.visit import Redirect, Visit

SERVICE: Final = "canuse.testing.v1.ClockService"


async def write(visit: Visit) -> Redirect:
    """Move it forward, by some seconds or to a time."""
    if by := visit.form.get("seconds", ""):
        advance = pb.AdvanceTimeRequest()
        advance.duration.seconds = read_amount("seconds", by)
        await visit.call(f"{SERVICE}/AdvanceTime", advance, pb.AdvanceTimeResponse)
    else:
        request = pb.SetTimeRequest(time=_time(visit.form.get("time", "")))
        await visit.call(f"{SERVICE}/SetTime", request, pb.SetTimeResponse)
    back = visit.form.get("back", "")
    return Redirect(back if is_own(back) else HOME)


def _time(text: str) -> Timestamp:
    """Return the time in a field of a form, which browsers send without a zone; raise ApiError."""
    time = Timestamp()
    try:
        time.FromJsonString(text if text.endswith("Z") else f"{text}{'' if text.count(':') > 1 else ':00'}Z")
    except ValueError:
        raise invalid([("time", f"must be a time like 2026-01-31T12:00; {text[:40]!r} was sent")]) from None
    return time
