"""What the audit log says about the calls of `chaos/retry_cases.py` that change something other than usage."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

from canuse import v1
from canuse_server.api.methods import method_at
from chaos.methods import METHODS
from chaos.retry_cases import CASES
from chaos.scenario import Scenario
from support.message_clients import Client

Result = TypeVar("Result")
Expected = Callable[[Scenario, Any], v1.AuditEntry]
MAX_NEW: Final = 200
"""The most entries that a test looks for."""


def _of_subscriptions(s: Scenario, answer: v1.SubscribeResponse) -> v1.AuditEntry:
    found = answer.subscriptions
    return v1.AuditEntry(
        user_id=s.newcomer_id,
        subscription_ids=[item.id for item in found],
        package_ids=[item.package_id for item in found],
    )


def _of_change(s: Scenario, answer: v1.ChangePackageResponse) -> v1.AuditEntry:
    return v1.AuditEntry(
        user_id=s.user_id,
        fields=["cancel_at"],
        subscription_ids=[answer.subscription.id, s.subscription_id],
        package_ids=[s.other_base_id, s.base_id],
    )


def _of_field(field: str) -> Expected:
    def expected(s: Scenario, _: object) -> v1.AuditEntry:
        return v1.AuditEntry(
            user_id=s.user_id, fields=[field], subscription_ids=[s.subscription_id], package_ids=[s.base_id]
        )

    return expected


def _of_grant(s: Scenario, _: object) -> v1.AuditEntry:
    return v1.AuditEntry(user_id=s.user_id, grant_ids=["bonus"], feature_ids=[s.first])


def _of_user(s: Scenario, _: object) -> v1.AuditEntry:
    return v1.AuditEntry(user_id=s.user_id)


def _of_package(*fields: str) -> Expected:
    return lambda s, _: v1.AuditEntry(package_ids=[s.base_id], fields=fields)


def _of_feature(*fields: str) -> Expected:
    return lambda s, _: v1.AuditEntry(feature_ids=[s.first], fields=fields)


EXPECTED: Final[Mapping[str, Expected]] = {
    "Subscribe, to a base package": _of_subscriptions,
    "Subscribe, with an event id": _of_subscriptions,
    "Subscribe, to an add-on without an event id": _of_subscriptions,
    "ChangePackage": _of_change,
    "ChangePackage, without an event id": _of_change,
    "UpdateSubscription": _of_field("status"),
    "CancelSubscription": _of_field("cancel_at"),
    "CreateGrant": _of_grant,
    "RevokeGrant": _of_grant,
    "CreateUser": lambda s, _: v1.AuditEntry(user_id=s.new_id, user_created=True, fields=["name"]),
    "UpdateUser": lambda s, _: v1.AuditEntry(user_id=s.user_id, fields=["name"]),
    "EnsureUser": lambda s, answer: v1.AuditEntry(
        user_id=s.new_id,
        user_created=True,
        fields=["name"],
        subscription_ids=[answer.subscription.id],
        package_ids=[s.base_id],
    ),
    "DeleteUser": _of_user,
    "GenerateUserToken": _of_user,
    "RevokeUserTokens": _of_user,
    "CreateFeature": lambda s, _: v1.AuditEntry(feature_ids=[s.new_id]),
    "UpdateFeature": _of_feature("name"),
    "ArchiveFeature": _of_feature("archived"),
    "CreatePackage": lambda s, _: v1.AuditEntry(package_ids=[s.new_id]),
    "UpdatePackage": _of_package("name", "status", "version"),
    "PublishPackage": _of_package("status", "published_version"),
    "ArchivePackage": _of_package("status"),
    "MigrateSubscriptions": _of_field("package_version"),
    "ApplyCatalog": lambda s, _: v1.AuditEntry(feature_ids=[s.new_id], package_ids=[s.new_id, s.base_id]),
    "CreateApiKey": lambda _, answer: v1.AuditEntry(api_key_id=answer.api_key.id),
    "RevokeApiKey": lambda _, answer: v1.AuditEntry(api_key_id=answer.api_key.id),
}
"""The entry of each call: the ids and the fields, from the scenario and the answer."""
ONE_MORE_EACH_TIME: Final = ("Subscribe, to an add-on without an event id", "CreateApiKey")
"""Calls whose repetition is another change."""


def audited_methods() -> set[str]:
    """Return the methods of `canuse.v1` that change something other than usage."""
    return {name for name, method in METHODS.items() if method_at(method.path).audited}


def cases() -> set[str]:
    """Return the names of the cases of these methods."""
    methods = audited_methods()
    return {name for name in CASES if name.partition(",")[0] in methods}


def newest(client: Client, **filters: Any) -> list[v1.AuditEntry]:
    """Return the newest entries."""
    return list(islice(client.list_audit_entries(page_size=MAX_NEW, **filters), MAX_NEW))


def with_new_entries(client: Client, action: Callable[[], Result]) -> tuple[Result, list[v1.AuditEntry]]:
    """Do something; return its result and the entries that it added, newest first."""
    before = {entry.id for entry in newest(client)}
    result = action()
    return result, [entry for entry in newest(client) if entry.id not in before]


def content(entry: v1.AuditEntry) -> v1.AuditEntry:
    """Return an entry's ids and fields, without who made the change, and when."""
    copy = v1.AuditEntry()
    copy.CopyFrom(entry)
    for name in ("id", "time", "method", "caller_key_id", "request_id", "environment"):
        copy.ClearField(name)
    return copy
