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
            features: The entries, each feature once. One without a `limit` is unlimited, or binary:
                `v1.PackageFeature(feature_id="api-calls", limit=100, reset_period=v1.RESET_PERIOD_MONTH)`.
            type: `v1.PACKAGE_TYPE_BASE`, of which a user can have one at a time, or `v1.PACKAGE_TYPE_ADD_ON`.
            name: Display name.
            metadata: Metadata to store with the package: at most 16 pairs, 2 KiB in total.

        Raises:
            AlreadyExists: The id is in use.
            NotFound: One of the features does not exist.
        """
        package = build(
            v1.Package, id=package_id, features=features, type=type, name=name, **optional(metadata=metadata)
        )
        response = await self._call(self._stubs.catalog.CreatePackage, v1.CreatePackageRequest(package=package))
        return response.package

    async def get_package(self, package_id: str, *, version: int | None = None) -> v1.Package:
        """Get a package: its latest version, draft or not, or a published one. NotFound if it does not exist."""
        request = build(v1.GetPackageRequest, package_id=package_id, **optional(version=version))
        response = await self._call(self._stubs.catalog.GetPackage, request)
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

        For a published package, it creates the next version as a draft: `published_version` does not change until
        `publish_package`.

        Returns:
            The package after the change.

        Raises:
            NotFound: The package or one of the features does not exist.
            FailedPrecondition: The package is archived, or `type` changes after a version was published.
            BadArgument: No field was given.
        """
        request = _requests.update_package(package_id, features=features, type=type, name=name, metadata=metadata)
        response = await self._call(self._stubs.catalog.UpdatePackage, request)
        return response.package

    def list_packages(self, *, page_size: int = 50) -> AsyncIterator[v1.Package]:
        """Iterate over all packages by id, in every status."""
        request = build(v1.ListPackagesRequest, page_size=page_size)
        return self._pages(self._stubs.catalog.ListPackages, request, lambda page: page.packages)

    async def publish_package(self, package_id: str) -> v1.Package:
        """Publish a draft: new subscriptions get this version, and it never changes. NotFound if it does not exist."""
        request = build(v1.PublishPackageRequest, package_id=package_id)
        response = await self._call(self._stubs.catalog.PublishPackage, request)
        return response.package

    async def archive_package(self, package_id: str) -> v1.Package:
        """Archive a package: it accepts no new subscriptions, existing ones stay. NotFound if it does not exist."""
        request = build(v1.ArchivePackageRequest, package_id=package_id)
        response = await self._call(self._stubs.catalog.ArchivePackage, request)
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
        """Move subscriptions to another version of their package, and iterate over the progress.

        The migration starts with the iteration. `timeout_seconds` does not apply to it, but `silence_timeout_seconds`
        does. Ending the iteration ends the migration; subscriptions that have moved stay moved.

            async for progress in client.migrate_subscriptions("pro"):
                print(progress.users, progress.migrated)

        Args:
            package_id: The package.
            from_version: Move only subscriptions on this version. Default: on any version other than `to_version`.
            to_version: The published version to move to. Default: the version that new subscriptions get.
            dry_run: Whether to count only, without a change.
            resume_token: That of the last message of an earlier call with the same arguments, to continue from there.

        Returns:
            At least one message, the last one with `done`; the others arrive about once a second.

        Raises:
            NotFound: The package or the version does not exist.
            FailedPrecondition: The version is not published.
            InvalidArgument: The token belongs to other arguments.
            Unavailable: The server or its store became unavailable: resume with the last `resume_token`.
            DeadlineExceeded: No message arrived for `silence_timeout_seconds`: resume with the last `resume_token`.
        """
        request = _requests.migrate_subscriptions(
            package_id, from_version=from_version, to_version=to_version, dry_run=dry_run, resume_token=resume_token
        )
        return self._stream(self._stubs.catalog.MigrateSubscriptions, request)
