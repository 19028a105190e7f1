"""MigrateSubscriptions: what is refused, and what a resume token is valid for."""

from typing import Any

import grpc

from canuse import v1
from canuse_server.api.tokens import migration as migration_tokens
from canuse_server.api.tokens.migration import Progress
from support.message_clients import Client
from support.migrations import migrate, of, publish, versions
from support.resources import package, subscriber, unique
from support.wire import Failure, Stubs, failure


def refused(stubs: Stubs, **fields: Any) -> Failure:
    """Request a migration that must be refused."""
    request = v1.MigrateSubscriptionsRequest(**fields)
    return failure(lambda: list(stubs.catalog.MigrateSubscriptions(request)))


def test_what_there_is_not_is_not_found_and_what_was_not_published_is_refused(client: Client, stubs: Stubs) -> None:
    missing, package_id, draft_id = unique("missing"), package(client, []), client.create_package(unique("draft")).id
    client.update_package(package_id, name="second")
    unknown = refused(stubs, package_id=missing)
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "PACKAGE_NOT_FOUND")
    assert unknown.metadata == {"package_id": missing}
    for fields in ({"to_version": 3}, {"from_version": 3}, {"from_version": 3, "to_version": 1}):
        unknown = refused(stubs, package_id=package_id, **fields)
        assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "PACKAGE_NOT_FOUND")
        assert unknown.metadata == {"package_id": package_id, "version": "3"}
    for fields in ({"to_version": 2}, {"from_version": 2}, {"from_version": 1, "to_version": 2}):
        early = refused(stubs, package_id=package_id, **fields)
        assert (early.code, early.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_NOT_PUBLISHED")
        assert early.metadata == {"package_id": package_id, "version": "2"}
    assert refused(stubs, package_id=draft_id).metadata == {"package_id": draft_id, "version": "1"}


def test_contradictory_fields_are_refused_by_name(client: Client, stubs: Stubs) -> None:
    package_id = package(client, [])
    for fields, named in (
        ({"package_id": ""}, ["package_id"]),
        ({"package_id": package_id, "from_version": -1, "to_version": -2}, ["from_version", "to_version"]),
        ({"package_id": package_id, "from_version": 1}, ["from_version"]),
        ({"package_id": package_id, "from_version": 1, "to_version": 1}, ["from_version"]),
        ({"package_id": package_id, "resume_token": "abc"}, ["resume_token"]),
        ({"package_id": package_id, "resume_token": "ü" * 10_000}, ["resume_token"]),
    ):
        found = refused(stubs, **fields)
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, named)


def test_a_token_is_good_for_the_same_request_only(client: Client, stubs: Stubs) -> None:
    package_id, other_id = package(client, []), package(client, [])
    for each in (package_id, package_id, other_id, other_id):
        publish(client, each)
    made_with: dict[str, Any] = {"package_id": package_id, "from_version": 1, "to_version": 2, "dry_run": True}
    *_, last = stubs.catalog.MigrateSubscriptions(v1.MigrateSubscriptionsRequest(**made_with))
    changes: list[dict[str, object]] = [
        {"package_id": other_id},
        {"from_version": 0},
        {"from_version": 3},
        {"to_version": 0},
        {"to_version": 3},
        {"dry_run": False},
    ]
    for change in changes:
        found = refused(stubs, **{**made_with, **change}, resume_token=last.resume_token)
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["resume_token"]), change
    again = migrate(client, **made_with, resume_token=last.resume_token)
    assert (again.users >= last.users, again.migrated) == (True, 0)


def test_a_migration_that_is_resumed_goes_on_to_the_version_it_began_with(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    package_id = subscription.package_id
    publish(client, package_id, of(feature_id, 6))
    begun = v1.MigrateSubscriptionsRequest(package_id=package_id)
    token = migration_tokens.encode(begun, Progress(to_version=2, users=7))
    publish(client, package_id, of(feature_id, 7))
    done = migrate(client, package_id, resume_token=token)
    assert (done.migrated, versions(client, user_id)) == (1, [2])
    assert done.users > 7
