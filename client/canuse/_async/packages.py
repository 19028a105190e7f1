"""Packages of the catalogue, and the migration of their subscriptions."""

# ruff: noqa: A002 - `type` is what the field is called everywhere else too

from collections.abc import AsyncIterator, Iterable, Mapping

from canuse import _requests, v1
from canuse._arguments import build, optional
from canuse._async.base import BaseClient
from canuse._requests import UNSET, Unset


class PackageMethods(BaseClient):
    """Packages of the catalogue, and the migration of their subscriptions."""

    async def create_package(
        self,
        package_id: str,
        features: Iterable[v1.PackageFeature] = (),
        *,
        type: v1.PackageType.ValueType = v1.PACKAGE_TYPE_BASE,
        name: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> v1.Package:
        """Create a package as a draft; users can subscribe to it once it is published.

        Args:
            package_id: Your id for it, 1 to 128 bytes without control characters.
            features: What subscribers get, each feature once. One without a `limit` is unlimited, or binary:
                `v1.PackageFeature(feature_id="api-calls", limit=100, reset_period=v1.RESET_PERIOD_MONTH)`.
            type: `v1.PACKAGE_TYPE_BASE`, of which a user has one at a time, or `v1.PACKAGE_TYPE_ADD_ON`.
            name: For people to read.
            metadata: Kept with the package: at most 16 pairs, 2 KiB in all.

        Raises:
            AlreadyExists: The id is taken.
            NotFound: One of the features does not exist.
        """
        package = build(
            v1.Package, id=package_id, features=features, type=type, name=name, **optional(metadata=metadata)
        )
        response = await self._call(self._catalog.CreatePackage, v1.CreatePackageRequest(package=package))
        return response.package

    async def get_package(self, package_id: str, *, version: int | None = None) -> v1.Package:
        """Get a package as it was last edited, or a version that was published. NotFound if there is none."""
        request = build(v1.GetPackageRequest, package_id=package_id, **optional(version=version))
        response = await self._call(self._catalog.GetPackage, request)
        return response.package

    async def update_package(
        self,
        package_id: str,
        *,
        features: Iterable[v1.PackageFeature] | Unset = UNSET,
        type: v1.PackageType.ValueType | Unset = UNSET,
        name: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
    ) -> v1.Package:
        """Change the given fields of a draft, and no others. `features` replaces the whole list.

        On a published package it makes the next version, as a draft: `published_version` stays what it was until
        `publish_package`.

        Returns:
            The package after the change.

        Raises:
            NotFound: There is no such package, or one of the features does not exist.
            FailedPrecondition: The package is archived, or it was published and `type` is another one.
            BadArgument: No field was given.
        """
        request = _requests.update_package(package_id, features=features, type=type, name=name, metadata=metadata)
        response = await self._call(self._catalog.UpdatePackage, request)
        return response.package

    def list_packages(self, *, page_size: int = 50) -> AsyncIterator[v1.Package]:
        """Iterate over all packages by id, of every status."""
        request = build(v1.ListPackagesRequest, page_size=page_size)
        return self._pages(self._catalog.ListPackages, request, lambda page: page.packages)

    async def publish_package(self, package_id: str) -> v1.Package:
        """Publish a draft: from then on new subscribers get it, and it never changes. NotFound if there is none."""
        request = build(v1.PublishPackageRequest, package_id=package_id)
        response = await self._call(self._catalog.PublishPackage, request)
        return response.package

    async def archive_package(self, package_id: str) -> v1.Package:
        """Archive a package: nobody new can subscribe to it, who has it keeps it. NotFound if there is none."""
        request = build(v1.ArchivePackageRequest, package_id=package_id)
        response = await self._call(self._catalog.ArchivePackage, request)
        return response.package

    def migrate_subscriptions(
        self,
        package_id: str,
        *,
        from_version: int | None = None,
        to_version: int | None = None,
        dry_run: bool = False,
        resume_token: str | None = None,
    ) -> AsyncIterator[v1.MigrateSubscriptionsResponse]:
        """Move subscriptions to another version of their package, and iterate over how far it is.

        It begins with the iteration and goes on for as long as that takes: `timeout_seconds` does not hold, but
        `silence_timeout_seconds` does. Ending the iteration ends the migration; what has moved has moved.

            async for progress in client.migrate_subscriptions("pro"):
                print(progress.users, progress.migrated)

        Args:
            package_id: The package.
            from_version: Move only the subscriptions that are on this version. Default: those on any other.
            to_version: The published version to move them to. Default: the one that new subscriptions get.
            dry_run: Only count what would change.
            resume_token: Of the last message of an earlier call with the same arguments: go on from there.

        Returns:
            At least one message, the last one with `done`; the others come about once a second.

        Raises:
            NotFound: There is no such package or version.
            FailedPrecondition: The version was not published.
            InvalidArgument: The token belongs to other arguments.
            Unavailable: The server or its store went away: go on with the last `resume_token`.
            DeadlineExceeded: No message came for `silence_timeout_seconds`: go on with the last `resume_token`.
        """
        request = _requests.migrate_subscriptions(
            package_id, from_version=from_version, to_version=to_version, dry_run=dry_run, resume_token=resume_token
        )
        return self._stream(self._catalog.MigrateSubscriptions, request)
