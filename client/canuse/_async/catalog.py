"""The catalogue as one document."""

from collections.abc import Iterable

from canuse import _requests, v1
from canuse._async.base import BaseClient


class CatalogMethods(BaseClient):
    """The catalogue as one document."""

    async def apply_catalog(
        self,
        features: Iterable[v1.Feature] = (),
        packages: Iterable[v1.Package] = (),
        *,
        archive_missing: bool = False,
        dry_run: bool = False,
        etag: str | None = None,
        max_user_losses: int = 0,
    ) -> v1.ApplyCatalogResponse:
        """Make the catalogue what a document says, in one step: create, change, publish and archive.

        A document that the catalogue already matches changes nothing, so the call can be repeated.

        Args:
            features: Features. Each replaces the whole feature; `archived` archives it.
            packages: Packages. `status` says whether the content is to be published (the default) or a draft, or the
                package archived. A package can be given twice: as published and as draft.
            archive_missing: Whether to archive what the document does not name. Default: it stays as it is.
            dry_run: Whether to say only what would be changed, and how many users would lose access. It goes through
                all users, with a call for each second or so; the answer is the sum.
            etag: That of an earlier answer: apply only if the catalogue has not changed since.
            max_user_losses: Of a dry run: of how many losses to say in `user_losses` which user has them, 0 to 1000.

        Raises:
            Aborted: The catalogue has changed since the `etag`.
            NotFound: A feature of a package exists neither in the catalogue nor in the document.
            FailedPrecondition: Something archived is to be in use again, or the type of a published package changes.
            InvalidArgument: `violations` names the fields.
        """
        request = _requests.apply_catalog(
            features,
            packages,
            archive_missing=archive_missing,
            dry_run=dry_run,
            etag=etag,
            max_user_losses=max_user_losses,
        )
        total = await self._call(self._stubs.catalog.ApplyCatalog, request)
        while total.resume_token:
            # The users are counted for one state of the catalogue.
            request.etag, request.resume_token = total.etag, total.resume_token
            request.max_user_losses = max(max_user_losses - len(total.user_losses), 0)
            _requests.add_losses(total, await self._call(self._stubs.catalog.ApplyCatalog, request))
        return total
