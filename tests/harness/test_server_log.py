"""The report of the fuzzer explains an internal error."""

import structlog

from canuse_server.api.failures import to_api_error
from chaos.server_log import ServerLog


def test_a_failed_call_is_logged_with_its_traceback_until_the_log_is_cleared() -> None:
    before = structlog.get_config()
    log = ServerLog()
    try:
        to_api_error("/canuse.v1.CatalogService/ApplyCatalog", _error())
        text = str(log)
        log.clear()
        assert not str(log)
    finally:
        structlog.configure(**before)
    assert "method=/canuse.v1.CatalogService/ApplyCatalog" in text
    assert "in _error" in text
    assert "ValueError: 3 is no type" in text


def _error() -> Exception:
    try:
        raise ValueError("3 is no type")
    except ValueError as error:
        return error
