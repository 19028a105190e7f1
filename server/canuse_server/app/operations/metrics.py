"""Metrics and their port, where they are wanted and their package is installed."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from canuse_server import missing_package
from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.environment import Environments
from canuse_server.app.operations.health import Health
from canuse_server.app.ports import leave_out
from canuse_server.settings import Settings
from canuse_server.store.trimming.trimmer import Trimmer

if TYPE_CHECKING:
    from canuse_server.app.operations.process_metrics import ProcessMetrics
    from canuse_server.app.workers.supervisor import Workers


def process_metrics(
    settings: Settings,
    environments: Environments,
    admission: AdmissionLimit,
    health: Health,
    trimmer: Trimmer,
    *,
    is_worker: bool,
) -> "ProcessMetrics | None":
    """Return the metrics of this process, or None if nobody reads them or their package is not installed."""
    if not settings.ops_listen and not is_worker:
        return None
    try:
        from canuse_server.app.operations.process_metrics import ProcessMetrics  # noqa: PLC0415 - it takes a moment to import
    except ModuleNotFoundError as error:
        _leave_out_ops(settings, error)
        return None
    return ProcessMetrics(settings, environments, admission, health, trimmer, is_worker=is_worker)


async def open_port_with_workers(
    settings: Settings, environments: Environments, workers: "Workers", trimmer: Trimmer, stack: AsyncExitStack
) -> str | None:
    """Open the port for operations of a server with workers, if there is to be one; return its URL."""
    if not settings.ops_listen:
        return None
    try:
        from canuse_server.app.workers import totals  # noqa: PLC0415 - it takes a moment to import
    except ModuleNotFoundError as error:
        _leave_out_ops(settings, error)
        return None
    return await totals.open_port(settings, environments, workers, trimmer, stack)


def _leave_out_ops(settings: Settings, error: ModuleNotFoundError) -> None:
    problem = f"ops_listen needs the package {missing_package(error)}: pip install 'canuse[metrics]'"
    leave_out(settings, "ops_listen", problem)
