"""The decisions of a server with workers: its supervisor asks them whenever somebody looks, and adds up."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from canuse_server.api.hotpath.decisions import DECISIONS, Decision
from canuse_server.app.decisions.history import History
from canuse_server.app.decisions.wire import decode, decode_counts, encode, encode_counts
from canuse_server.app.operations.health import Health
from canuse_server.app.workers import reports
from canuse_server.app.workers.supervisor import Workers
from canuse_server.transport.http.host import Decisions

if TYPE_CHECKING:
    from canuse_server.app.operations.process_metrics import ProcessMetrics


class WorkersDecisions:
    """What all workers have counted, at their supervisor. What a worker has counted stays after its death."""

    def __init__(self, workers: Workers, count: int) -> None:
        self._workers = workers
        self._count = count
        self._history = History()
        self._last: dict[int, Counter[Decision]] = {}
        self._ended: Counter[Decision] = Counter()
        self._one_at_a_time = asyncio.Lock()

    async def report(self) -> bytes:
        """Ask the workers, and return all that is known. Of one that does not answer, its last counts are taken."""
        # An earlier answer of a worker must not replace a later one.
        async with self._one_at_a_time:
            answers = await self._workers.ask(reports.DECISIONS)
            return encode(await asyncio.to_thread(self._add, answers))

    def _add(self, answers: dict[int, bytes | None]) -> Decisions:
        for pid in self._last.keys() - answers.keys():
            self._ended += self._last.pop(pid)
        answered = {pid: decode_counts(sent) for pid, sent in answers.items() if sent}
        self._last |= answered
        total = sum(self._last.values(), self._ended.copy())
        return self._history.seen(total, len(answered), self._count)


class ServersDecisions:
    """The decisions of the server whose worker this process is."""

    def __init__(self, supervisor: Path) -> None:
        """`supervisor` is the socket of the supervisor."""
        self._supervisor = supervisor
        self._history = History()

    async def read(self) -> Decisions:
        """Ask the supervisor; if it does not answer, return those of this process alone."""
        sent = await reports.read_report(self._supervisor, reports.DECISIONS, reports.SUPERVISOR_TIMEOUT_SECONDS)
        if not sent:
            return self._history.seen(DECISIONS.totals(), 1, 0)
        return await asyncio.to_thread(decode, sent)


async def answer_supervisor(
    sockets: reports.WorkerReports | None, health: Health, metrics: "ProcessMetrics | None", stack: AsyncExitStack
) -> None:
    """Answer, in a worker, what its supervisor asks, if it asks."""
    if sockets is None:
        return

    async def readiness() -> bytes:
        return reports.READY if health.is_ready else b""

    async def decisions() -> bytes:
        return await asyncio.to_thread(lambda: encode_counts(DECISIONS.totals()))

    answers = {reports.READINESS: readiness, reports.DECISIONS: decisions}
    if metrics is not None:
        answers[reports.METRICS] = metrics.report
    server = await reports.serve_reports(sockets.own, answers)
    stack.callback(server.close)
