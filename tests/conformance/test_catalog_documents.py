"""ApplyCatalog: a catalogue as one document, applied as a whole or not at all, and planned before."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import grpc
import pytest

from canuse import Aborted, v1
from support.message_clients import Client
from support.migrations import create_subscriber, migrate, of, publish, versions
from support.resources import binary, consumable, grant, package, subscriber, unique
from support.wire import Failure, Stubs, failure

BINARY, CONSUMABLE = v1.FEATURE_TYPE_BINARY, v1.FEATURE_TYPE_CONSUMABLE
DRAFT, PUBLISHED = v1.PACKAGE_STATUS_DRAFT, v1.PACKAGE_STATUS_PUBLISHED
ARCHIVED = v1.PACKAGE_STATUS_ARCHIVED
PRO: Final = "pro"


def feature(feature_id: str, **fields: Any) -> v1.Feature:
    """Return a consumable feature."""
    return v1.Feature(**{"id": feature_id, "type": CONSUMABLE, **fields})


def told(answer: v1.ApplyCatalogResponse) -> list[tuple[str, str, int]]:
    """Return the changes of an answer: the id, the kind and the version."""
    return [
        (
            each.feature_id or each.package_id,
            v1.CatalogAction.Name(each.action).removeprefix("CATALOG_ACTION_"),
            each.version,
        )
        for each in answer.changes
    ]


def fields(answer: v1.ApplyCatalogResponse) -> dict[str, tuple[str, str]]:
    """Return the changed fields of an answer: the old and the new value by the field."""
    return {each.field: (each.old_value, each.new_value) for change in answer.changes for each in change.fields}


def losses(answer: v1.ApplyCatalogResponse) -> dict[tuple[str, str], int]:
    """Return how many users would lose access, by package and feature."""
    return {(loss.package_id, loss.feature_id): loss.users for loss in answer.access_losses}


def refused(stubs: Stubs, **request: Any) -> Failure:
    """Apply a document that is refused."""
    return failure(stubs.catalog.ApplyCatalog, v1.ApplyCatalogRequest(**request))


def test_a_document_creates_features_and_packages_in_one_call(client: Client) -> None:
    calls, sso, starter, later = unique("calls"), unique("sso"), unique("starter"), unique("later")
    features = [
        feature(calls, name="Calls", unit_label="call", unit_label_plural="calls", metadata={"a": "b"}),
        feature(sso, type=BINARY, on_unavailable=v1.ON_UNAVAILABLE_ALLOW),
    ]
    packages = [
        v1.Package(id=starter, name="Starter", features=[of(calls, 5), v1.PackageFeature(feature_id=sso)]),
        v1.Package(id=later, type=v1.PACKAGE_TYPE_ADD_ON, features=[of(calls, 9, overage=True)], status=DRAFT),
        v1.Package(id=starter, name="Starter", features=[of(calls, 7)], status=DRAFT, metadata={"c": "d"}),
    ]
    planned = client.apply_catalog(features, packages, dry_run=True)
    applied = client.apply_catalog(features, packages)
    assert told(planned) == told(applied) == [
        (calls, "CREATE", 0),
        (sso, "CREATE", 0),
        (starter, "CREATE", 1),
        (starter, "PUBLISH", 1),
        (starter, "UPDATE", 2),
        (later, "CREATE", 1),
    ]  # fmt: skip
    assert planned.etag != applied.etag
    created = client.get_feature(calls)
    assert (created.name, created.unit_label_plural, dict(created.metadata)) == ("Calls", "calls", {"a": "b"})
    assert client.get_feature(sso).on_unavailable == v1.ON_UNAVAILABLE_ALLOW
    assert created.created_at.seconds > 0
    latest, first = client.get_package(starter), client.get_package(starter, version=1)
    assert (latest.status, latest.version, latest.published_version, dict(latest.metadata)) == (DRAFT, 2, 1, {"c": "d"})
    assert [entry.limit for entry in latest.features] == [7]
    switch = v1.PackageFeature(feature_id=sso, reset_period=v1.RESET_PERIOD_NEVER)
    assert list(first.features) == [packages[0].features[0], switch]
    draft = client.get_package(later)
    assert (draft.status, draft.type, draft.features[0].overage_enabled) == (DRAFT, v1.PACKAGE_TYPE_ADD_ON, True)
    # It is there at once for calls of this server.
    user_id = create_subscriber(client, starter)
    assert client.use_feature(user_id, calls, 5).access
    assert client.can_use(user_id, sso).access


def test_a_dry_run_changes_nothing(client: Client, stubs: Stubs) -> None:
    calls, starter = unique("calls"), unique("starter")
    document = ([feature(calls)], [v1.Package(id=starter, features=[of(calls, 5)])])
    first = client.apply_catalog(*document, dry_run=True)
    assert client.apply_catalog(*document, dry_run=True) == first
    assert failure(stubs.catalog.GetFeature, v1.GetFeatureRequest(feature_id=calls)).reason == "FEATURE_NOT_FOUND"
    assert failure(stubs.catalog.GetPackage, v1.GetPackageRequest(package_id=starter)).reason == "PACKAGE_NOT_FOUND"


def test_a_document_that_the_catalogue_already_matches_changes_nothing(client: Client) -> None:
    calls, starter = unique("calls"), unique("starter")
    document = ([feature(calls, name="Calls")], [v1.Package(id=starter, features=[of(calls, 5)])])
    applied = client.apply_catalog(*document)
    again = client.apply_catalog(*document)
    assert (told(again), again.etag) == ([], applied.etag)
    assert client.get_package(starter).version == 1


def test_what_the_lists_return_is_a_document_that_changes_nothing(client: Client) -> None:
    calls, edited, gone, dropped = consumable(client), package(client, []), package(client, []), consumable(client)
    client.update_package(edited, features=[of(calls, 5), of(dropped, 1)])
    client.archive_package(gone)
    client.archive_feature(dropped)
    client.update_feature(calls, name="Calls", on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN)
    named = {calls, edited, gone, dropped}
    features = [each for each in client.list_features(page_size=1000) if each.id in named]
    packages = [each for each in client.list_packages(page_size=1000) if each.id in named]
    assert len(features) + len(packages) == 4
    assert told(client.apply_catalog(features, packages)) == []
    published = client.get_package(edited, version=1)
    assert told(client.apply_catalog(features, [*packages, published])) == []


def test_a_feature_is_replaced_as_a_whole_and_each_changed_field_is_named(client: Client) -> None:
    calls = unique("calls")
    client.apply_catalog([feature(calls, name="Calls", unit_label="call", metadata={"a": "1", "b": "2"})])
    other = feature(calls, name="More", metadata={"b": "3", "c": "x" * 300}, on_unavailable=v1.ON_UNAVAILABLE_ALLOW)
    applied = client.apply_catalog([other])
    assert told(applied) == [(calls, "UPDATE", 0)]
    assert fields(applied) == {
        "name": ("Calls", "More"),
        "unit_label": ("call", ""),
        "on_unavailable": ("deny", "allow"),
        "metadata[a]": ("1", ""),
        "metadata[b]": ("2", "3"),
        "metadata[c]": ("", "x" * 256 + "…"),
    }
    found = client.get_feature(calls)
    other.created_at.CopyFrom(found.created_at)
    assert found == other


def test_each_changed_entry_of_a_package_is_named(client: Client) -> None:
    calls, seats, sso, runs = consumable(client), consumable(client), binary(client), consumable(client)
    starter = package(client, [of(calls, 5), of(seats, None), v1.PackageFeature(feature_id=sso)])
    entries = [of(runs, 3, v1.RESET_PERIOD_DAY, overage=True), of(seats, 9), of(calls, 5, v1.RESET_PERIOD_DAY)]
    changed = v1.Package(id=starter, name="Starter", features=entries)
    applied = client.apply_catalog(packages=[changed])
    assert told(applied) == [(starter, "UPDATE", 2), (starter, "PUBLISH", 2)]
    assert fields(applied) == {
        "name": ("", "Starter"),
        f"features[{calls}].reset_period": ("month", "day"),
        f"features[{seats}].limit": ("", "9"),
        f"features[{sso}]": ("included, no limit, reset_period never", ""),
        f"features[{runs}]": ("", "limit 3, reset_period day, overage_enabled"),
    }


def test_a_changed_published_package_gets_a_version_and_subscribers_keep_theirs(client: Client) -> None:
    user_id, calls = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    starter = subscription.package_id
    client.apply_catalog(packages=[v1.Package(id=starter, features=[of(calls, 9)])])
    assert client.can_use(user_id, calls).consumption.budget == 5
    newcomer = create_subscriber(client, starter)
    assert client.can_use(newcomer, calls).consumption.budget == 9
    assert (versions(client, user_id), versions(client, newcomer)) == ([1], [2])
    migrate(client, starter)
    assert client.can_use(user_id, calls).consumption.budget == 9


def test_the_order_of_entries_is_no_change(client: Client) -> None:
    one, other = consumable(client), consumable(client)
    starter = package(client, [of(one, 1), of(other, 2)])
    assert told(client.apply_catalog(packages=[v1.Package(id=starter, features=[of(other, 2), of(one, 1)])])) == []


class Case(NamedTuple):
    """The limits of the stored versions, what a document says, and what becomes of the package."""

    stored: tuple[int | None, int | None]
    """The limit in the published version and in the draft; None: there is none."""
    said: dict[v1.PackageStatus.ValueType, int]
    """The limit by status."""
    changes: list[tuple[str, int]]
    left: tuple[int | None, int | None]
    """As `stored`."""


CASES: Final[dict[str, Case]] = {
    "new, published": Case((None, None), {PUBLISHED: 1}, [("CREATE", 1), ("PUBLISH", 1)], (1, None)),
    "new, draft": Case((None, None), {DRAFT: 1}, [("CREATE", 1)], (None, 1)),
    "new, both": Case((None, None), {PUBLISHED: 1, DRAFT: 2}, [("CREATE", 1), ("PUBLISH", 1), ("UPDATE", 2)], (1, 2)),
    "draft, published": Case((None, 1), {PUBLISHED: 1}, [("PUBLISH", 1)], (1, None)),
    "draft, changed and published": Case((None, 1), {PUBLISHED: 2}, [("UPDATE", 1), ("PUBLISH", 1)], (2, None)),
    "draft, changed": Case((None, 1), {DRAFT: 2}, [("UPDATE", 1)], (None, 2)),
    "draft, as it is": Case((None, 1), {DRAFT: 1}, [], (None, 1)),
    "draft, both": Case((None, 1), {PUBLISHED: 1, DRAFT: 2}, [("PUBLISH", 1), ("UPDATE", 2)], (1, 2)),
    "published, as it is": Case((1, None), {PUBLISHED: 1}, [], (1, None)),
    "published, changed": Case((1, None), {PUBLISHED: 2}, [("UPDATE", 2), ("PUBLISH", 2)], (2, None)),
    "published, its content as a draft": Case((1, None), {DRAFT: 1}, [], (1, None)),
    "published, with a draft": Case((1, None), {DRAFT: 2}, [("UPDATE", 2)], (1, 2)),
    "published, both": Case((1, None), {PUBLISHED: 1, DRAFT: 2}, [("UPDATE", 2)], (1, 2)),
    "both, as they are": Case((1, 2), {PUBLISHED: 1, DRAFT: 2}, [], (1, 2)),
    "both, and equal": Case((1, 1), {PUBLISHED: 1, DRAFT: 1}, [], (1, 1)),
    "both, only the draft as it is": Case((1, 2), {DRAFT: 2}, [], (1, 2)),
    "both, the draft published": Case((1, 2), {PUBLISHED: 2}, [("PUBLISH", 2)], (2, None)),
    "both, without the draft": Case((1, 2), {PUBLISHED: 1}, [("DISCARD_DRAFT", 2)], (1, None)),
    "both, something else published": Case((1, 2), {PUBLISHED: 3}, [("UPDATE", 2), ("PUBLISH", 2)], (3, None)),
    "both, another draft": Case((1, 2), {PUBLISHED: 1, DRAFT: 3}, [("UPDATE", 2)], (1, 3)),
    "both, the draft moves on": Case(
        (1, 2), {PUBLISHED: 3, DRAFT: 2}, [("UPDATE", 2), ("PUBLISH", 2), ("UPDATE", 3)], (3, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_package_becomes_what_the_document_says_of_its_versions(client: Client, name: str) -> None:
    case, calls, package_id = CASES[name], consumable(client), unique("package")
    published, draft = case.stored
    if published is not None or draft is not None:
        client.create_package(package_id, [of(calls, draft if published is None else published)])
    if published is not None:
        client.publish_package(package_id)
        if draft is not None:
            client.update_package(package_id, features=[of(calls, 99)])
            client.update_package(package_id, features=[of(calls, draft)])
    said = [
        v1.Package(id=package_id, features=[of(calls, limit)], status=status) for status, limit in case.said.items()
    ]
    planned = client.apply_catalog(packages=said, dry_run=True)
    applied = client.apply_catalog(packages=said)
    assert told(planned) == told(applied) == [(package_id, *change) for change in case.changes]
    assert told(client.apply_catalog(packages=said)) == []
    latest = client.get_package(package_id)
    expected_published, expected_draft = case.left
    assert (latest.status == DRAFT) == (expected_draft is not None)
    if expected_draft is not None:
        assert latest.features[0].limit == expected_draft
        assert latest.version == latest.published_version + 1
    if expected_published is not None:
        current = client.get_package(package_id, version=latest.published_version)
        assert current.features[0].limit == expected_published
    # Each later version has a number of its own.
    client.update_package(package_id, features=[of(calls, 50)])
    assert client.publish_package(package_id).version == latest.published_version + 1


def test_what_is_not_named_stays_and_what_is_archived_stays_archived(client: Client, stubs: Stubs) -> None:
    calls, other, starter, pro = consumable(client), consumable(client), package(client, []), package(client, [])
    archived = client.apply_catalog(
        [feature(calls, archived=True)], [v1.Package(id=starter, status=ARCHIVED, name="is not looked at")]
    )
    assert told(archived) == [(calls, "ARCHIVE", 0), (starter, "ARCHIVE", 0)]
    assert (client.get_feature(calls).archived, client.get_feature(other).archived) == (True, False)
    assert (client.get_package(starter).status, client.get_package(pro).status) == (ARCHIVED, PUBLISHED)
    back = refused(stubs, features=[feature(other), feature(calls)])
    assert (back.code, back.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_ARCHIVED")
    assert back.metadata == {"feature_id": calls, "field": "features[1].archived"}
    for status in (PUBLISHED, DRAFT):
        back = refused(stubs, packages=[v1.Package(id=pro), v1.Package(id=starter, status=status)])
        assert (back.code, back.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_ARCHIVED")
        assert back.metadata == {"package_id": starter, "field": "packages[1].status"}
    # Names of what is archived can change, as with UpdateFeature.
    assert told(client.apply_catalog([feature(calls, archived=True, name="Old")])) == [(calls, "UPDATE", 0)]


def test_what_is_archived_and_does_not_exist_is_not_created(client: Client, stubs: Stubs) -> None:
    calls, starter = unique("calls"), unique("starter")
    archived = ([feature(calls, archived=True)], [v1.Package(id=starter, status=ARCHIVED)])
    assert told(client.apply_catalog(*archived)) == []
    assert failure(stubs.catalog.GetFeature, v1.GetFeatureRequest(feature_id=calls)).reason == "FEATURE_NOT_FOUND"
    listing = refused(stubs, features=archived[0], packages=[v1.Package(id=unique(), features=[of(calls, 1)])])
    assert (listing.reason, listing.metadata["field"]) == ("FEATURE_ARCHIVED", "packages[0].features[0].feature_id")


def test_an_archived_feature_stays_in_packages_that_do_not_change(client: Client, stubs: Stubs) -> None:
    calls = consumable(client)
    starter = package(client, [of(calls, 5)])
    same, other = (v1.Package(id=starter, features=[of(calls, limit)]) for limit in (5, 6))
    assert told(client.apply_catalog([feature(calls, archived=True)], [same])) == [(calls, "ARCHIVE", 0)]
    refusal = refused(stubs, packages=[other])
    assert (refusal.reason, refusal.metadata["field"]) == ("FEATURE_ARCHIVED", "packages[0].features[0].feature_id")


Requested = Callable[[str, str, str], dict[str, Any]]
INVALID: Final[dict[str, tuple[Requested, Sequence[str]]]] = {
    "no type": (lambda *_: {"features": [v1.Feature(id="a")]}, ["features[0].type"]),
    "a feature twice": (lambda *_: {"features": [feature("a"), feature("b"), feature("a")]}, ["features[2].id"]),
    "no ids": (
        lambda *_: {"features": [feature("")], "packages": [v1.Package(), v1.Package(id="\n")]},
        ["features[0].id", "packages[0].id", "packages[1].id"],
    ),
    "a package twice": (lambda *_: {"packages": [v1.Package(id="a"), v1.Package(id="a")]}, ["packages[1].id"]),
    "a package archived and not": (
        lambda *_: {"packages": [v1.Package(id="a", status=ARCHIVED), v1.Package(id="a", status=DRAFT)]},
        ["packages[1].id"],
    ),
    "a draft of another type": (
        lambda *_: {"packages": [v1.Package(id="a"), v1.Package(id="a", status=DRAFT, type=v1.PACKAGE_TYPE_ADD_ON)]},
        ["packages[1].type"],
    ),
    "an unknown type of a version": (
        lambda *_: {"packages": [v1.Package(id="a", type=3), v1.Package(id="a", status=DRAFT)]},  # type: ignore[arg-type]
        ["packages[0].type", "packages[1].type"],
    ),
    "an unknown type of both versions": (
        lambda *_: {"packages": [v1.Package(id="a", type=3), v1.Package(id="a", status=DRAFT, type=3)]},  # type: ignore[arg-type]
        ["packages[0].type", "packages[1].type"],
    ),
    "an unknown status": (lambda *_: {"packages": [v1.Package(id="a", status=9)]}, ["packages[0].status"]),  # type: ignore[arg-type]
    "a limit below zero": (
        lambda calls, _, __: {"packages": [v1.Package(id="a", features=[of(calls, -1)])]},
        ["packages[0].features[0].limit"],
    ),
    "a feature twice in a package": (
        lambda calls, _, __: {"packages": [v1.Package(id="a", features=[of(calls, 1), of(calls, 2)])]},
        ["packages[0].features"],
    ),
    "a limit of a binary feature": (
        lambda _, sso, __: {"packages": [v1.Package(id="a", features=[v1.PackageFeature(feature_id=sso, limit=1)])]},
        ["packages[0].features[0].limit"],
    ),
    "another type": (lambda calls, *_: {"features": [feature(calls, type=BINARY)]}, ["features[0].type"]),
    "too many entries": (
        lambda calls, *_: {
            "packages": [
                v1.Package(id=f"a{number}", features=[of(f"{each}", 1) for each in range(1000)]) for number in range(21)
            ]
        },
        ["packages"],
    ),
    "a token of no dry run": (lambda *_: {"resume_token": "x"}, ["resume_token"]),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_document_is_refused_with_the_paths_of_its_fields(client: Client, stubs: Stubs, name: str) -> None:
    requested, paths = INVALID[name]
    new, calls, sso = unique("new"), consumable(client), binary(client)
    request = requested(calls, sso, new)
    request["features"] = [*request.get("features", ()), feature(new)]
    found = refused(stubs, **request)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [*found.violations] == paths
    # Nothing of the rest was applied.
    assert failure(stubs.catalog.GetFeature, v1.GetFeatureRequest(feature_id=new)).reason == "FEATURE_NOT_FOUND"


def test_a_document_that_cannot_be_applied_is_refused_as_a_whole(client: Client, stubs: Stubs) -> None:
    new, starter, missing = unique("new"), package(client, []), unique("missing")
    unknown = v1.Package(id=unique(), features=[of(new, 1), of(missing, 1)])
    changed = v1.Package(id=starter, name="Changed")
    found = refused(stubs, features=[feature(new)], packages=[changed, unknown])
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "FEATURE_NOT_FOUND")
    assert found.metadata == {"feature_id": missing, "field": "packages[1].features[1].feature_id"}
    add_on = v1.Package(id=starter, type=v1.PACKAGE_TYPE_ADD_ON)
    found = refused(stubs, features=[feature(new)], packages=[add_on])
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_IMMUTABLE")
    assert found.metadata["field"] == "packages[0].type"
    assert failure(stubs.catalog.GetFeature, v1.GetFeatureRequest(feature_id=new)).reason == "FEATURE_NOT_FOUND"
    assert client.get_package(starter).name == ""


def test_a_plan_is_applied_only_to_the_catalogue_that_it_was_made_for(client: Client) -> None:
    calls, other = unique("calls"), consumable(client)
    planned = client.apply_catalog([feature(calls)], dry_run=True)
    client.update_feature(other, name="changed meanwhile")
    with pytest.raises(Aborted) as stale:
        client.apply_catalog([feature(calls)], etag=planned.etag)
    assert (stale.value.reason, stale.value.code) == ("CATALOG_CHANGED", grpc.StatusCode.ABORTED)
    planned = client.apply_catalog([feature(calls)], dry_run=True)
    applied = client.apply_catalog([feature(calls)], etag=planned.etag)
    # A repetition after a lost answer: there is nothing left to change.
    again = client.apply_catalog([feature(calls)], etag=planned.etag)
    assert (told(again), again.etag) == ([], applied.etag)
    assert client.get_feature(calls).id == calls


def test_a_dry_run_counts_who_would_lose_what_in_the_migration_that_follows(client: Client) -> None:
    calls, seats, sso = consumable(client), consumable(client), binary(client)
    switch = v1.PackageFeature(feature_id=sso)
    starter = package(client, [of(calls, 5), of(seats, 3), switch])
    extra = package(client, [of(seats, 3)], v1.PACKAGE_TYPE_ADD_ON)
    for _ in range(3):
        create_subscriber(client, starter)
    create_subscriber(client, starter, extra)
    gone = create_subscriber(client, starter)
    client.cancel_subscription(next(client.list_subscriptions(gone)).id)
    less = v1.Package(id=starter, features=[of(calls, 4), of(seats, 2)])
    planned = client.apply_catalog(packages=[less], dry_run=True)
    assert losses(planned) == {(starter, calls): 4, (starter, seats): 3, (starter, sso): 4}
    assert (planned.users >= 5, planned.resume_token) == (True, "")
    applied = client.apply_catalog(packages=[less])
    assert (losses(applied), applied.users) == ({}, 0)
    assert migrate(client, starter, dry_run=True).shrinking_users == 4


def test_a_dry_run_names_who_would_lose_what(client: Client, stubs: Stubs) -> None:
    calls, seats, sso = consumable(client), consumable(client), binary(client)
    entries = [of(calls, 5, overage=True), of(seats, None), v1.PackageFeature(feature_id=sso)]
    starter = package(client, entries)
    users = {create_subscriber(client, starter) for _ in range(5)}
    document = [v1.Package(id=starter, features=[of(calls, 5), of(seats, 2)])]
    planned = client.apply_catalog(packages=document, dry_run=True)
    assert list(planned.user_losses) == []
    assert losses(planned) == {(starter, each): 5 for each in (calls, seats, sso)}
    named = client.apply_catalog(packages=document, dry_run=True, max_user_losses=1000)
    assert losses(named) == losses(planned)
    expected = {
        calls: (entries[0], of(calls, 5)),
        seats: (entries[1], of(seats, 2)),
        sso: (entries[2], None),
    }
    assert [each.user_id for each in named.user_losses[::3]] == list(
        dict.fromkeys(u.user_id for u in named.user_losses)
    )
    assert {each.user_id for each in named.user_losses} == users
    for each in named.user_losses:
        after = each.after if each.HasField("after") else None
        assert (each.package_id, (each.before, after)) == (starter, expected[each.feature_id])
    # In steps: each ends with the user whose loss is the last one that was asked for.
    request = v1.ApplyCatalogRequest(packages=document, dry_run=True, max_user_losses=4)
    found: list[v1.CatalogUserLoss] = []
    sizes = []
    while True:
        answer = stubs.catalog.ApplyCatalog(request)
        found += answer.user_losses
        assert answer.users >= len({each.user_id for each in answer.user_losses})
        if answer.user_losses:
            sizes.append(len(answer.user_losses))
        if not answer.resume_token:
            break
        request.resume_token, request.max_user_losses = answer.resume_token, 1 if len(sizes) == 1 else 4
    assert (sizes, found) == ([6, 3, 6], list(named.user_losses))
    few = client.apply_catalog(packages=document, dry_run=True, max_user_losses=1)
    assert (list(few.user_losses), losses(few)) == (list(named.user_losses[:3]), losses(planned))
    # Nothing is named where nothing is asked.
    assert not client.apply_catalog(packages=document, max_user_losses=5).user_losses
    for wrong in (-1, 1001):
        error = refused(stubs, packages=document, dry_run=True, max_user_losses=wrong)
        assert (error.reason, set(error.violations)) == ("INVALID_FIELD", {"max_user_losses"})


def test_a_dry_run_names_who_has_an_archived_feature_by_a_grant_only(client: Client) -> None:
    user_id, calls = subscriber(client, 5)
    granted = client.create_user(unique("user")).id
    grant(client, granted, calls, 5)
    planned = client.apply_catalog([feature(calls, archived=True)], dry_run=True, max_user_losses=10)
    found = {each.user_id: each for each in planned.user_losses}
    assert found.keys() == {user_id, granted}
    assert (found[user_id].before.limit, found[user_id].HasField("after")) == (5, False)
    assert not found[granted].HasField("before")


def test_a_dry_run_counts_who_would_lose_an_archived_feature(client: Client) -> None:
    user_id, calls = subscriber(client, 5)
    granted = client.create_user(unique("user")).id
    grant(client, granted, calls, 5)
    unpaid = create_subscriber(client, next(client.list_subscriptions(user_id)).package_id)
    [subscription] = client.list_subscriptions(unpaid)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_UNPAID)
    planned = client.apply_catalog([feature(calls, archived=True)], dry_run=True)
    assert losses(planned) == {("", calls): 2}
    client.apply_catalog([feature(calls, archived=True)])
    # Another change of it takes nothing away.
    renamed = client.apply_catalog([feature(calls, archived=True, name="Old")], dry_run=True)
    assert (told(renamed), losses(renamed), renamed.users) == ([(calls, "UPDATE", 0)], {}, 0)


def test_nobody_loses_anything_by_a_draft_a_new_package_or_more(client: Client) -> None:
    user_id, calls = subscriber(client, 5)
    new = unique("new")
    starter = next(client.list_subscriptions(user_id)).package_id
    packages = [
        v1.Package(id=starter, features=[of(calls, 6), of(new, 1)]),
        v1.Package(id=starter, status=DRAFT),
        v1.Package(id=unique("other"), features=[of(new, 1)]),
    ]
    planned = client.apply_catalog([feature(new)], packages, dry_run=True)
    assert (losses(planned), planned.users >= 1) == ({}, True)
    archiving = client.apply_catalog(packages=[v1.Package(id=starter, status=ARCHIVED)], dry_run=True)
    assert (losses(archiving), archiving.users) == ({}, 0)


def test_subscribers_of_every_earlier_version_are_counted(client: Client) -> None:
    calls = consumable(client)
    starter = package(client, [of(calls, 9)])
    create_subscriber(client, starter)
    publish(client, starter, of(calls, 5))
    create_subscriber(client, starter)
    planned = client.apply_catalog(packages=[v1.Package(id=starter, features=[of(calls, 7)])], dry_run=True)
    assert losses(planned) == {(starter, calls): 1}


def test_a_list_of_changes_that_no_client_would_take_is_refused_before_anything_is_written(
    client: Client, stubs: Stubs
) -> None:
    ids = [unique("f" * 100) for _ in range(1000)]
    client.apply_catalog([feature(each) for each in ids])
    names = [unique("package") for _ in range(10)]
    client.apply_catalog(packages=[v1.Package(id=name, features=[of(each, 1) for each in ids]) for name in names])
    other = v1.RESET_PERIOD_DAY
    changed = [v1.Package(id=name, features=[of(each, 2, other, overage=True) for each in ids]) for name in names]
    found = refused(stubs, packages=changed)
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert client.get_package(names[0]).version == 1
    assert len(told(client.apply_catalog(packages=changed[:5]))) == 10
