"""The command that says what is wrong with a store or a server, and what to do."""

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from canuse_server.cli.connection import ApiKey, Connection, TlsCa, TlsCertificate, TlsKey, UseTls
from canuse_server.cli.exit_status import EXIT_ERROR, EXIT_NO
from canuse_server.cli.options import Json
from canuse_server.cli.output import printable
from canuse_server.cli.storage.options import StoreOptions, with_store

if TYPE_CHECKING:
    from canuse_server.settings import Settings
    from canuse_server.store.diagnosis.findings import Finding
    from canuse_server.store.redis.client import Store

TIMEOUT_SECONDS: Final = 5.0
UNREACHABLE: Final = ("connection", "server", "ready")
"""The checks without which there are no others."""


@with_store
def doctor(
    options: StoreOptions,
    *,
    server: Annotated[
        str | None, typer.Option("--server", help="Check a running server instead, host:port or unix:/path.")
    ] = None,
    ops: Annotated[
        str | None, typer.Option("--ops", metavar="URL", help="Check a server by its port for health and metrics.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 also if there are warnings.")] = False,
    as_json: Json = False,
    api_key: ApiKey = None,
    tls: UseTls = False,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
) -> None:
    """Check a store, or a running server, and say what to do. Nothing is changed.

    Exit status 0: no problem, 1: a problem, 2: no answer.
    """
    from canuse_server.cli.storage.server_checks import check_ops, check_server  # noqa: PLC0415 - needs `server`

    report = _Report(as_json)
    if server is not None:
        report.add(*check_server(Connection(server, api_key, tls, tls_ca, tls_certificate, tls_key)))
    if ops is not None:
        report.add(*check_ops(ops))
    if server is ops is None:
        options.run(report.check_store, timeout_seconds=TIMEOUT_SECONDS)
    report.end(strict)


class _Report:
    """Prints what is found: each line at once, or JSON at the end."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._findings: list[Finding] = []

    def add(self, *findings: "Finding") -> None:
        """Take findings."""
        for finding in findings:
            self._findings.append(finding)
            if not self._as_json:
                typer.echo(f"{finding.status:<8} {finding.check:<15} {printable(finding.text)}")

    async def check_store(self, store: "Store", settings: "Settings") -> None:
        """Add the findings about a store."""
        from canuse_server.app.stores import promise_of  # noqa: PLC0415 - needs the extra `server`
        from canuse_server.store.diagnosis.checks import Deployment, check_store  # noqa: PLC0415

        deployment = Deployment(
            promise=promise_of(settings),
            store_timeout_seconds=settings.store_timeout_seconds,
            ledger_max_age_ms=settings.ledger_max_age_seconds * 1000,
            dedupe_ttl_ms=settings.dedupe_ttl_seconds * 1000,
            trim_interval_seconds=settings.trim_interval_seconds,
        )
        async for finding in check_store(store, deployment):
            self.add(finding)

    def end(self, strict: bool) -> None:
        """Print JSON if that is wanted, and exit with the status."""
        if self._as_json:
            typer.echo(json.dumps([finding._asdict() for finding in self._findings], indent=2))
        problems = {finding.check for finding in self._findings if finding.status == "problem"}
        if problems & set(UNREACHABLE):
            raise typer.Exit(EXIT_ERROR)
        if problems or (strict and any(finding.status != "ok" for finding in self._findings)):
            raise typer.Exit(EXIT_NO)
