"""The audit log."""

from collections.abc import AsyncIterator

from canuse import _requests, v1
from canuse._async.base import BaseClient
from canuse._moments import Moment


class AuditMethods(BaseClient):
    """The audit log."""

    def list_audit_entries(
        self,
        *,
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        user_id: str | None = None,
        method: str | None = None,
        caller_key_id: str | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[v1.AuditEntry]:
        """Iterate over the changes in the environment of the client's key, newest first: who changed what.

        Needs a key with keys:admin, on a server that requires keys.

        Args:
            start_time: Only changes at or after this time, with a time zone.
            end_time: Only changes before this time, with a time zone.
            user_id: Only changes of this user, who may be deleted.
            method: Only changes by this method, like `UpdateUser`.
            caller_key_id: Only changes by callers with this API key: its id, not its secret.
            page_size: Maximum number of entries per page.

        Raises:
            InvalidArgument: The method is unknown, or changes nothing.
            BadArgument: A time has no time zone.
        """
        request = _requests.list_audit_entries(
            start_time=start_time,
            end_time=end_time,
            user_id=user_id,
            method=method,
            caller_key_id=caller_key_id,
            page_size=page_size,
        )
        return self._pages(self._stubs.audit.ListAuditEntries, request, lambda page: page.entries)
