"""What users of grpcurl see with nothing but an address: all definitions, and errors that explain mistakes."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2 as reflection

from canuse.v1 import entitlement_service_pb2
from support.grpcurl import grpcurl as run_grpcurl
from support.processes import Canuse
from support.resources import unique

NAMES = ("ApiKey", "Audit", "Catalog", "Entitlement", "Subscription", "Usage", "User")
SERVICES = {"envoy.service.ratelimit.v3.RateLimitService", *(f"canuse.v1.{name}Service" for name in NAMES)}
STANDARD = {"grpc.health.v1.Health", *(f"grpc.reflection.{version}.ServerReflection" for version in ("v1", "v1alpha"))}
CLOCK = "canuse.testing.v1.ClockService"
STORE = "canuse.testing.v1.StoreService"


def grpcurl(server: Canuse, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run grpcurl against a server."""
    return run_grpcurl(server.address, *arguments, options=("-plaintext", *options))


def call(server: Canuse, method: str, request: Any) -> Any:
    """Call a method of canuse with a request in JSON and return its answer."""
    path = method if method.startswith("canuse.") else f"canuse.v1.{method}"
    completed = grpcurl(server, path, options=("-emit-defaults", "-d", json.dumps(request)))
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def error_of(server: Canuse, *arguments: str) -> str:
    """Return what grpcurl prints about the API."""
    completed = grpcurl(server, *arguments)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def refused(server: Canuse, method: str, request: Any) -> str:
    """Return what grpcurl prints about a call that fails."""
    completed = grpcurl(server, f"canuse.v1.{method}", options=("-d", json.dumps(request)))
    assert completed.returncode != 0, completed.stdout
    assert completed.stdout == ""
    return completed.stderr


def messages_user(server: Canuse) -> tuple[str, str]:
    """Create a user with 5 `messages` a day; return the ids of the user and the feature."""
    feature_id, package_id, user_id = unique("messages"), unique("starter"), unique("124")
    feature = {"id": feature_id, "type": "FEATURE_TYPE_CONSUMABLE", "unit_label": "message"}
    entry = {"feature_id": feature_id, "limit": 5, "reset_period": "RESET_PERIOD_DAY"}
    call(server, "UserService/CreateUser", {"user": {"id": user_id}})
    call(server, "CatalogService/CreateFeature", {"feature": feature})
    call(server, "CatalogService/CreatePackage", {"package": {"id": package_id, "features": [entry]}})
    call(server, "CatalogService/PublishPackage", {"package_id": package_id})
    call(server, "SubscriptionService/Subscribe", {"user_id": user_id, "package_ids": [package_id]})
    return user_id, feature_id


def test_the_services_are_listed_without_any_definitions(server: Canuse) -> None:
    assert set(error_of(server, "list").split()) == SERVICES | STANDARD


def test_the_services_for_tests_are_listed_where_the_clock_can_be_moved(clocked_server: Canuse) -> None:
    # The other one is there only with an embedded store, which nobody else uses.
    assert set(error_of(clocked_server, "list").split()) - {STORE} == SERVICES | STANDARD | {CLOCK}


def test_the_methods_of_a_service_are_listed(server: Canuse) -> None:
    prefix = "canuse.v1.EntitlementService."
    listed = set(error_of(server, "list", "canuse.v1.EntitlementService").split())
    service = entitlement_service_pb2.DESCRIPTOR.services_by_name["EntitlementService"]
    assert listed == {prefix + method.name for method in service.methods}
    assert prefix + "CanUse" in listed


def test_services_messages_and_enums_are_described(server: Canuse) -> None:
    assert "rpc CanUse ( .canuse.v1.CanUseRequest )" in error_of(server, "describe", "canuse.v1.EntitlementService")
    described = error_of(server, "describe", "canuse.v1.Consumption")
    assert "optional int64 budget = 2;" in described
    assert ".google.protobuf.Timestamp resets_at = 7;" in described
    assert "REASON_BUDGET_EXCEEDED = 11;" in error_of(server, "describe", "canuse.v1.Reason")


def test_everything_that_is_listed_is_described(server: Canuse) -> None:
    """Reflection itself was listed as v1, and described as v1alpha only."""
    described = error_of(server, "describe")
    for service in SERVICES | STANDARD:
        assert f"{service} is a service:" in described


def test_a_method_is_described_by_its_name(server: Canuse) -> None:
    """Reflection is asked for the file of `<package>.<service>.<method>`, which grpcio's servicer does not find."""
    described = error_of(server, "describe", "canuse.v1.EntitlementService.CanUse")
    assert "rpc CanUse ( .canuse.v1.CanUseRequest ) returns ( .canuse.v1.CanUseResponse ) {" in described
    assert "option idempotency_level = NO_SIDE_EFFECTS;" in described


def test_what_there_is_not_is_not_found(server: Canuse) -> None:
    completed = grpcurl(server, "describe", "canuse.v1.Nothing")
    assert completed.returncode != 0
    assert "not found" in completed.stderr


@pytest.fixture
def channel(server: Canuse) -> Iterator[grpc.Channel]:
    """A plain channel to the server."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_of_reflection_answer(channel: grpc.Channel, version: str) -> None:
    """grpcurl uses v1 and falls back to v1alpha only if that is missing; other tools know v1alpha only."""
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection.ServerReflectionRequest(list_services=""),
        reflection.ServerReflectionRequest(file_containing_symbol="canuse.v1.Reason"),
    ]
    services, file = method(iter(requests), timeout=30)
    assert {service.name for service in services.list_services_response.service} >= SERVICES
    assert b"canuse/v1/reason.proto" in file.file_descriptor_response.file_descriptor_proto[0]


@pytest.mark.parametrize("service", ["", "canuse.v1.EntitlementService"])
def test_the_server_and_each_service_is_serving(server: Canuse, service: str) -> None:
    completed = grpcurl(server, "grpc.health.v1.Health/Check", options=("-d", json.dumps({"service": service})))
    assert json.loads(completed.stdout) == {"status": "SERVING"}


def test_the_health_of_a_service_that_there_is_not_is_not_found(server: Canuse) -> None:
    completed = grpcurl(server, "grpc.health.v1.Health/Check", options=("-d", '{"service": "nobody"}'))
    assert completed.returncode != 0
    assert "Code: NotFound" in completed.stderr


def test_a_user_is_allowed_until_the_budget_is_used_up_and_again_after_the_reset(clocked_server: Canuse) -> None:
    user_id, feature_id = messages_user(clocked_server)
    use = {"user_id": user_id, "feature_id": feature_id}

    let_in = call(clocked_server, "EntitlementService/CanUse", use)
    assert (let_in["access"], let_in["reason"]) == (True, "REASON_WITHIN_BUDGET")
    assert (let_in["consumption"]["used"], let_in["consumption"]["remaining"]) == ("0", "5")

    recorded = call(clocked_server, "EntitlementService/CreateUsageEvent", {**use, "delta": 5})
    assert (recorded["recorded"], recorded["applied_delta"]) == (True, "5")

    refused = call(clocked_server, "EntitlementService/CanUse", use)
    assert (refused["access"], refused["reason"]) == (False, "REASON_BUDGET_EXCEEDED")
    counts = refused["consumption"]
    assert (counts["used"], counts["budget"], counts["remaining"]) == ("5", "5", "0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", counts["resets_at"])

    assert call(clocked_server, f"{CLOCK}/SetTime", {"time": counts["resets_at"]})["time"] == counts["resets_at"]
    again = call(clocked_server, "EntitlementService/CanUse", use)
    assert again["access"]
    assert (again["consumption"]["used"], again["consumption"]["period_start"]) == ("0", counts["resets_at"])

    usage = call(clocked_server, "UsageService/ShowUsage", use)
    assert [(past["used"], past["budget"], past["period_end"]) for past in usage["past"]] == [
        ("5", "5", counts["resets_at"])
    ]


def test_the_clock_is_moved_on_by_a_duration(clocked_server: Canuse) -> None:
    user_id, feature_id = messages_user(clocked_server)
    use = {"user_id": user_id, "feature_id": feature_id}
    assert call(clocked_server, "EntitlementService/UseFeature", {**use, "delta": 5})["access"]
    assert not call(clocked_server, "EntitlementService/UseFeature", use)["access"]
    call(clocked_server, f"{CLOCK}/AdvanceTime", {"duration": "86400s"})
    assert call(clocked_server, "EntitlementService/UseFeature", use)["access"]


def test_the_clock_can_not_be_moved_on_a_server_that_runs_on_the_system_s(server: Canuse) -> None:
    completed = grpcurl(server, f"{CLOCK}/AdvanceTime", options=("-d", '{"duration": "1s"}'))
    assert completed.returncode != 0
    assert "Code: Unimplemented" in completed.stderr


@pytest.mark.parametrize("method", ["CanUse", "CreateUsageEvent", "UseFeature"])
def test_a_number_as_an_id_is_refused_with_an_explanation_and_counts_nothing(server: Canuse, method: str) -> None:
    user_id, feature_id = messages_user(server)
    for request in ({"user_id": 124, "feature_id": feature_id}, {"user_id": user_id, "feature_id": 5}):
        assert "expecting string" in refused(server, f"EntitlementService/{method}", request)
    counts = call(server, "UsageService/ShowUsage", {"user_id": user_id, "feature_id": feature_id})["current"]
    assert counts["used"] == "0"


def test_an_error_names_the_bad_fields_what_was_sent_and_what_is_accepted(server: Canuse) -> None:
    said = refused(server, "EntitlementService/CanUse", {"user_id": "", "feature_id": "x", "delta": 0})
    assert "Code: InvalidArgument" in said
    assert "user_id: must be 1 to 128 bytes of UTF-8 without control characters; nothing was sent" in said
    assert "delta: must be 1 to 2^53 - 1; 0 was sent" in said
    assert '"reason": "INVALID_FIELD"' in said
    assert "google.rpc.BadRequest" in said


def test_an_unknown_user_is_named(server: Canuse) -> None:
    _, feature_id = messages_user(server)
    said = refused(server, "EntitlementService/CanUse", {"user_id": "nobody", "feature_id": feature_id})
    assert "Code: NotFound" in said
    assert "user 'nobody' does not exist" in said
    assert '"reason": "USER_NOT_FOUND"' in said


def test_amounts_beyond_what_json_numbers_hold_are_exact(server: Canuse) -> None:
    user_id, feature_id = messages_user(server)
    largest = str(2**53 - 1)
    request = {"user_id": user_id, "feature_id": feature_id, "delta": largest}
    recorded = call(server, "EntitlementService/CreateUsageEvent", request)
    assert recorded["consumption"]["used"] == largest
