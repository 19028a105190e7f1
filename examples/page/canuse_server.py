"""Starts canuse with what the example needs: a catalogue, a user with a subscription, and keys."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from examples.page.service import MESSAGES, PAGES, USER_ID

from canuse import Client, v1

ALL_SCOPES: Final = (
    "entitlements:read",
    "usage:write",
    "catalog:read",
    "users:write",
    "catalog:write",
    "keys:admin",
)
SERVICE_SCOPES: Final = ("entitlements:read", "usage:write", "users:write")
"""What the service calls: checks, uses, and the tokens for its pages."""
TIMEOUT_SECONDS: Final = 30
"""How long a call waits, also on a busy machine."""
LIMITS: Final = {MESSAGES: 3, PAGES: 4}
"""What the package allows a day."""


@dataclass(frozen=True)
class Server:
    """A running canuse: where it answers over gRPC and HTTP."""

    address: str
    url: str


@dataclass(frozen=True)
class Keys:
    """Secret API keys: one with all scopes, and one for the service."""

    admin: str
    service: str


@contextmanager
def running_canuse(folder: Path, clock: str, origins: str) -> Iterator[Server]:
    """Run canuse on an embedded Valkey. Pages of the origins may call it."""
    # Settings of the user's own canuse, such as its store, are not for this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("CANUSE_")}
    env |= {
        "CANUSE_LISTEN": "127.0.0.1:0",
        "CANUSE_HTTP_LISTEN": "127.0.0.1:0",
        "CANUSE_HTTP_CORS_ORIGINS": origins,
        "CANUSE_OPS_LISTEN": "",
        "CANUSE_CLOCK": clock,
        "CANUSE_DATA_DIR": str(folder),
        "CANUSE_LOG_LEVEL": "warning",
        # A machine may be busy with other things than an example.
        "CANUSE_STORE_TIMEOUT_SECONDS": "20",
    }
    command = [sys.executable, "-m", "canuse_server", "serve"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _ready(process)
        finally:
            process.terminate()


def _ready(process: subprocess.Popen[str]) -> Server:
    """Wait until the server is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        if ready := re.match(r"canuse ready on (\S+) .*HTTP on ([^\s,]+)", line):
            return Server(ready[1], ready[2])
    sys.exit("canuse did not start")


def prepare(address: str) -> Keys:
    """Create the keys, the catalogue, and the user with a subscription."""
    with Client(address, timeout_seconds=TIMEOUT_SECONDS) as client:
        # From the first key on, the server requires one.
        admin = client.create_api_key("example", ALL_SCOPES, environment=v1.ENVIRONMENT_LIVE).secret
    with Client(address, api_key=admin, timeout_seconds=TIMEOUT_SECONDS) as client:
        service = client.create_api_key("example service", SERVICE_SCOPES, environment=v1.ENVIRONMENT_LIVE).secret
        for feature_id in LIMITS:
            client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        entries = [
            v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=v1.RESET_PERIOD_DAY)
            for feature_id, limit in LIMITS.items()
        ]
        client.create_package("starter", entries, name="Starter")
        client.publish_package("starter")
        client.create_user(USER_ID, name="Ada")
        # Days of the subscription begin when it does: at midnight.
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        client.subscribe(USER_ID, ["starter"], started_at=today)
    return Keys(admin, service)
