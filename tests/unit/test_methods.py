"""The API's definitions of each method agree with its scope and with the clients."""

import json

import pytest

from canuse import service_config
from canuse.testing.v1 import clock_service_pb2, store_service_pb2
from canuse_server.api.methods import Method, method_at
from canuse_server.api.scopes import SCOPES
from canuse_server.domain.api_keys import Scope
from canuse_server.envoy import rate_limit_service_pb2

# A descriptor is found once its module is imported.
SERVED = (clock_service_pb2, store_service_pb2, rate_limit_service_pb2)
METHODS = [method_at(path) for path in SCOPES]
READING = (Scope.ENTITLEMENTS_READ, Scope.CATALOG_READ)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
def test_what_a_key_for_reading_may_call_changes_nothing_and_all_else_may(method: Method) -> None:
    scopes = SCOPES[method.path]
    assert method.writes is set(READING).isdisjoint(scopes) or scopes == (Scope.KEYS_ADMIN,)


def test_pages_and_answers_to_batches_are_large() -> None:
    large = {method.path.rpartition("/")[2] for method in METHODS if method.large}
    batches = {"BatchCanUse", "BatchCreateUsageEvents", "BatchUseFeature"}
    assert large - {method.path.rpartition("/")[2] for method in METHODS if method.paged} == batches
    assert "ListUsers" in large


def test_the_clients_repeat_all_that_only_reads_and_nothing_else_by_themselves() -> None:
    [policy] = json.loads(service_config())["methodConfig"]
    repeated = {f"/{name['service']}/{name['method']}" for name in policy["name"]}
    assert repeated == {method.path for method in METHODS if not method.writes and "/canuse.v1." in method.path}
