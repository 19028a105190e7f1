"""The command that shows what a server does, from its metrics."""

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Final

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from canuse_server.cli.operations.figures import Figures
from canuse_server.cli.operations.ops_port import DEFAULT, NoAnswer, Ops, get, reported
from canuse_server.cli.operations.tables import overview
from canuse_server.cli.output import WIDTH, printable

INTERVAL_SECONDS: Final = 1.0
OK: Final = 200


def top(
    ops: Ops = DEFAULT,
    *,
    once: Annotated[bool, typer.Option("--once", help="Show what one second brings, and end.")] = False,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Maximum number of rows of each table.")] = 10,
) -> None:
    """Show calls, decisions, refusals and the state of the store, each second until Ctrl-C."""
    with reported():
        first = _scrape(ops)
        if once:
            time.sleep(INTERVAL_SECONDS)
            _print(overview(first, _scrape(ops), rows))
            return
    views = _views(ops, first, rows)
    if not sys.stdout.isatty():
        for view in views:
            _print(view)
        return
    # Names are the callers' and contain no markup.
    console = Console(markup=False, emoji=False, highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for view in views:
            live.update(view, refresh=True)


def _views(ops: str, before: Figures, rows: int) -> Iterator[RenderableType]:
    """Yield what there is to see each second. A server that does not answer may be back later."""
    while True:
        time.sleep(INTERVAL_SECONDS)
        try:
            now = _scrape(ops)
        except NoAnswer as error:
            yield Text(printable(str(error)) + "\n")
        else:
            yield overview(before, now, rows)
            before = now


def _scrape(ops: str) -> Figures:
    status, text = get(ops, "/metrics")
    if status != OK:
        raise NoAnswer(f"{ops} answers /metrics with status {status}: is that the ops_listen of a canuse server?")
    return Figures.parse(text, time.monotonic())


def _print(view: RenderableType) -> None:
    """Print a view for another program or a file."""
    Console(width=WIDTH, markup=False, emoji=False, highlight=False).print(view)
    sys.stdout.flush()
