"""Fixtures of the tests of the command: how it is run, and a user to ask about."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from canuse import v1
from support.command_line import CommandLine, Subscriber
from support.message_clients import Client
from support.processes import Canuse

START = datetime(2025, 1, 31, 12, 30, tzinfo=UTC)


@pytest.fixture
def run(server: Canuse) -> CommandLine:
    """Return a function that runs commands against the server."""
    return CommandLine(server.address)


@pytest.fixture
def subscriber(client: Client) -> Subscriber:
    """Create a user with a limit of 3 units that never resets."""
    mark = uuid4().hex
    counted, unlimited, binary = f"counted-{mark}", f"unlimited-{mark}", f"binary-{mark}"
    client.create_feature(counted, type=v1.FEATURE_TYPE_CONSUMABLE, name="Counted things", unit_label="thing")
    client.create_feature(unlimited, type=v1.FEATURE_TYPE_CONSUMABLE)
    client.create_feature(binary, type=v1.FEATURE_TYPE_BINARY)
    package = f"package-{mark}"
    features = [
        v1.PackageFeature(feature_id=counted, limit=3),
        v1.PackageFeature(feature_id=unlimited, reset_period=v1.RESET_PERIOD_MONTH),
        v1.PackageFeature(feature_id=binary),
    ]
    client.create_package(package, features, name="A package", metadata={"tier": "2"})
    client.publish_package(package)
    user = client.create_user(f"user-{mark}", name="Ada Lovelace", email="ada@example.org").id
    [subscription] = client.subscribe(user, [package], started_at=START)
    return Subscriber(user, package, counted, unlimited, binary, subscription.started_at.ToJsonString())
