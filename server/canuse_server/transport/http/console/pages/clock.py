"""Moving the manual clock, which every call of the server goes by."""

from typing import Final

from canuse.testing.v1 import clock_service_pb2 as pb
from canuse_server.transport.http.console.addresses import HOME, is_own
from canuse_server.transport.http.console.forms import read_amount, read_time
from canuse_server.transport.http.console.visit import Redirect, Visit

SERVICE: Final = "canuse.testing.v1.ClockService"


async def write(visit: Visit) -> Redirect:
    """Move it forward, by some seconds or to a time."""
    if by := visit.form.get("seconds", ""):
        advance = pb.AdvanceTimeRequest()
        advance.duration.seconds = read_amount("seconds", by)
        await visit.call(f"{SERVICE}/AdvanceTime", advance, pb.AdvanceTimeResponse)
    else:
        request = pb.SetTimeRequest(time=read_time("time", visit.form.get("time", "")))
        await visit.call(f"{SERVICE}/SetTime", request, pb.SetTimeResponse)
    back = visit.form.get("back", "")
    return Redirect(back if is_own(back) else HOME)
