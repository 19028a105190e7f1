"""The default transport: the one for untrusted callers where they can connect, the fast one where they can't."""

from pathlib import Path

import pytest

from support.load import running
from support.processes import Canuse

WARNING = "use the native transport only for trusted callers or behind Envoy"


@pytest.mark.parametrize(
    ("listen", "options", "transport", "warns"),
    [
        ("127.0.0.1:0", (), "native", False),
        ("localhost:0", (), "native", False),
        ("0.0.0.0:0", (), "grpcio", False),
        ("0.0.0.0:0", ("--workers", "2"), "grpcio", False),
        ("0.0.0.0:0", ("--insecure-no-auth",), "grpcio", False),
        ("127.0.0.1:0", ("--transport", "native"), "native", False),
        ("0.0.0.0:0", ("--transport", "native"), "native", True),
        ("0.0.0.0:0", ("--transport", "native", "--workers", "2"), "native", True),
    ],
)
def test_the_fast_transport_is_taken_by_itself_on_the_loopback_only_and_elsewhere_says_what_it_needs(
    tmp_path: Path, listen: str, options: tuple[str, ...], transport: str, warns: bool
) -> None:
    with running(Canuse(tmp_path, *options, env={"CANUSE_LISTEN": listen})) as canuse:
        assert f"(transport {transport}," in canuse.ready_line
        assert canuse.log.count(WARNING) == warns
