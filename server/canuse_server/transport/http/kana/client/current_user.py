"""The user, the packages, the features and the entitlements that the Client API shows."""

from typing import Any, Final, NamedTuple

from ariadne import ObjectType, QueryType

from canuse import v1
from canuse_server.kana.metadata import from_stored
from canuse_server.transport.http.kana import words
from canuse_server.transport.http.kana.client.access import Access
from canuse_server.transport.http.kana.execution import Info
from canuse_server.transport.http.kana.work import Work

_query, _user, _package = QueryType(), ObjectType("User"), ObjectType("Package")
_feature, _entitlement = ObjectType("Feature"), ObjectType("Entitlement")
BOUND: Final = (_query, _user, _package, _feature, _entitlement)
_entitlement.set_field("consumption", words.consumption_of)
NO_PACKAGE: Final = v1.Entitlement(reason=v1.REASON_NOT_ENTITLED)


class Owned(NamedTuple):
    """A feature of the user's."""

    feature: v1.Feature
    entitlement: v1.Entitlement


class Held(NamedTuple):
    """A package of the user's, and all of the user's entitlements by feature."""

    package: v1.Package
    entitlements: dict[str, v1.Entitlement]


@_query.field("currentUser")
async def _current_user(_: Any, info: Info) -> Access:
    return await Access.of(info.context)


@_user.field("id")
def _id(user: Access, _: Info) -> str:
    return user.user_id


@_user.field("name")
async def _name(user: Access, _: Info) -> str | None:
    profile = await user.profile()
    return profile.name or None


@_user.field("email")
async def _email(user: Access, _: Info) -> str | None:
    profile = await user.profile()
    return profile.email or None


@_user.field("subscribedPackages")
async def _subscribed_packages(user: Access, info: Info) -> Any:
    work: Work = info.context
    entitlements = {entitlement.feature_id: entitlement for entitlement in user.entitlements}
    return work.listed([Held(package, entitlements) for package in await user.packages()])


@_package.field("id")
def _package_id(held: Held, _: Info) -> str:
    return held.package.id


@_package.field("name")
def _package_name(held: Held, _: Info) -> str:
    return held.package.name or held.package.id


@_package.field("isAddon")
def _is_addon(held: Held, _: Info) -> bool:
    return words.is_addon(held.package)


@_package.field("metadata")
def _package_metadata(held: Held, _: Info) -> Any:
    return from_stored(held.package.metadata)


@_package.field("features")
async def _features(held: Held, info: Info) -> Any:
    work: Work = info.context
    entries = await work.catalog.entries(held.package)
    return work.listed([Owned(entry.feature, held.entitlements.get(entry.feature.id, NO_PACKAGE)) for entry in entries])


@_feature.field("id")
def _feature_id(owned: Owned, _: Info) -> str:
    return owned.feature.id


@_feature.field("name")
def _feature_name(owned: Owned, _: Info) -> str:
    return owned.feature.name or owned.feature.id


@_feature.field("type")
def _feature_type(owned: Owned, _: Info) -> str:
    return words.feature_type(owned.feature)


@_feature.field("unitLabel")
def _unit_label(owned: Owned, _: Info) -> str | None:
    return owned.feature.unit_label or None


@_feature.field("unitLabelPlural")
def _unit_label_plural(owned: Owned, _: Info) -> str | None:
    return owned.feature.unit_label_plural or None


@_feature.field("metadata")
def _feature_metadata(owned: Owned, _: Info) -> Any:
    return from_stored(owned.feature.metadata)


@_feature.field("entitlement")
def _entitlement_of(owned: Owned, _: Info) -> dict[str, Any]:
    return words.decision(owned.entitlement)
