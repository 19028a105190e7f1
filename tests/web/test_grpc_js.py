"""`@grpc/grpc-js` with the definitions in protos/, as a program in JavaScript uses them without generated code."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.message_clients import Client
from support.npm import Npm
from support.processes import Canuse
from support.refusing_server import RETRIES, Retries, refusing_server, write_service_config
from support.resources import subscriber, unique
from support.tools import ROOT


def outcomes(npm: Npm, programs: Path, address: str, config: Path, *ids: str) -> Any:
    """Make a read and a recording call; return what came of them."""
    arguments = [address, "no-key-needed", str(config), str(ROOT / "protos"), *ids]
    return json.loads(npm.node(programs / "grpc.js", *arguments).stdout)


@pytest.mark.parametrize("retries", RETRIES)
def test_it_retries_what_the_service_config_says(npm: Npm, programs: Path, tmp_path: Path, retries: Retries) -> None:
    config = write_service_config(tmp_path, *retries.options)
    with refusing_server() as (address, calls):
        assert [outcome["code"] for outcome in outcomes(npm, programs, address, config)] == retries.statuses
        assert calls == retries.calls


@pytest.mark.parametrize("server", ["native-valkey"], indirect=True)
def test_it_calls_a_server_and_reads_the_details_of_errors(
    npm: Npm, programs: Path, server: Canuse, client: Client, tmp_path: Path
) -> None:
    config = write_service_config(tmp_path)
    user, feature = subscriber(client, 5)
    asked, used = outcomes(npm, programs, server.address, config, user, feature)
    assert (asked["answer"]["access"], used["answer"]["access"]) == (True, True)
    asked, used = outcomes(npm, programs, server.address, config, user, unique())
    assert asked == used == {"code": 5, "reason": "FEATURE_NOT_FOUND"}
