"""The clients with answers as messages of the API, which tests of the API compare.

The clients' own answer types and their retries have their own tests. These clients send no event ids of their own,
soon give up where nobody answers, and raise then.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import canuse
from canuse import CanuseError, Retry, v1


def for_tests(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a client with few retries and no answers of its own, unless they ask for others."""
    settings = {"unavailable_default": "raise", **settings}
    return settings if "channel" in settings else {"retry": Retry(recording=False, max_seconds=0.5), **settings}


class Client(canuse.Client):
    """`canuse.Client` with messages as answers."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **for_tests(settings))

    def can_use(self, *arguments: Any, **named: Any) -> v1.CanUseResponse:  # type: ignore[override]
        """Return the message."""
        return super().can_use(*arguments, **named).message

    def create_usage_event(self, *arguments: Any, **named: Any) -> v1.CreateUsageEventResponse:  # type: ignore[override]
        """Return the message."""
        return super().create_usage_event(*arguments, **named).message

    def use_feature(self, *arguments: Any, **named: Any) -> v1.UseFeatureResponse:  # type: ignore[override]
        """Return the message."""
        return super().use_feature(*arguments, **named).message

    def use_features(self, *arguments: Any, **named: Any) -> v1.UseFeaturesResponse:  # type: ignore[override]
        """Return the message."""
        return super().use_features(*arguments, **named).message

    def reserve(self, *arguments: Any, **named: Any) -> v1.ReserveResponse:  # type: ignore[override]
        """Return the message."""
        return super().reserve(*arguments, **named).message

    def settle(self, *arguments: Any, **named: Any) -> v1.SettleResponse:  # type: ignore[override]
        """Return the message."""
        return super().settle(*arguments, **named).message

    def extend_lease(self, *arguments: Any, **named: Any) -> v1.ExtendLeaseResponse:  # type: ignore[override]
        """Return the message."""
        return super().extend_lease(*arguments, **named).message

    def show_usage(self, *arguments: Any, **named: Any) -> v1.ShowUsageResponse:  # type: ignore[override]
        """Return the message."""
        return super().show_usage(*arguments, **named).message

    def batch_can_use(self, *arguments: Any, **named: Any) -> list[v1.CanUseResponse | CanuseError]:  # type: ignore[override]
        """Return messages and errors."""
        answers = super().batch_can_use(*arguments, **named)
        return [each if isinstance(each, CanuseError) else each.message for each in answers]

    def batch_create_usage_events(  # type: ignore[override]
        self, *arguments: Any, **named: Any
    ) -> list[v1.CreateUsageEventResponse | CanuseError]:
        """Return messages and errors."""
        answers = super().batch_create_usage_events(*arguments, **named)
        return [each if isinstance(each, CanuseError) else each.message for each in answers]

    def batch_use_feature(self, *arguments: Any, **named: Any) -> list[v1.UseFeatureResponse | CanuseError]:  # type: ignore[override]
        """Return messages and errors."""
        answers = super().batch_use_feature(*arguments, **named)
        return [each if isinstance(each, CanuseError) else each.message for each in answers]

    def list_entitlements(self, *arguments: Any, **named: Any) -> Iterator[v1.Entitlement]:  # type: ignore[override]
        """Iterate over messages."""
        entitlements = super().list_entitlements(*arguments, **named)
        return (each.message for each in entitlements)


class AsyncClient(canuse.AsyncClient):
    """`canuse.AsyncClient` with messages as answers."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **for_tests(settings))

    async def can_use(self, *arguments: Any, **named: Any) -> v1.CanUseResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().can_use(*arguments, **named)).message

    async def create_usage_event(self, *arguments: Any, **named: Any) -> v1.CreateUsageEventResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().create_usage_event(*arguments, **named)).message

    async def use_feature(self, *arguments: Any, **named: Any) -> v1.UseFeatureResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().use_feature(*arguments, **named)).message

    async def use_features(self, *arguments: Any, **named: Any) -> v1.UseFeaturesResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().use_features(*arguments, **named)).message

    async def reserve(self, *arguments: Any, **named: Any) -> v1.ReserveResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().reserve(*arguments, **named)).message

    async def settle(self, *arguments: Any, **named: Any) -> v1.SettleResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().settle(*arguments, **named)).message

    async def extend_lease(self, *arguments: Any, **named: Any) -> v1.ExtendLeaseResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().extend_lease(*arguments, **named)).message

    async def show_usage(self, *arguments: Any, **named: Any) -> v1.ShowUsageResponse:  # type: ignore[override]
        """Return the message."""
        return (await super().show_usage(*arguments, **named)).message

    async def batch_can_use(self, *arguments: Any, **named: Any) -> list[v1.CanUseResponse | CanuseError]:  # type: ignore[override]
        """Return messages and errors."""
        answers = await super().batch_can_use(*arguments, **named)
        return [each if isinstance(each, CanuseError) else each.message for each in answers]

    async def batch_create_usage_events(  # type: ignore[override]
        self, *arguments: Any, **named: Any
    ) -> list[v1.CreateUsageEventResponse | CanuseError]:
        """Return messages and errors."""
        answers = await super().batch_create_usage_events(*arguments, **named)
        return [each if isinstance(each, CanuseError) else each.message for each in answers]

    async def batch_use_feature(self, *arguments: Any, **named: Any) -> list[v1.UseFeatureResponse | CanuseError]:  # type: ignore[override]
        """Return messages and errors."""
        answers = await super().batch_use_feature(*arguments, **named)
        return [each if isinstance(each, CanuseError) else each.message for each in answers]

    def list_entitlements(self, *arguments: Any, **named: Any) -> AsyncIterator[v1.Entitlement]:  # type: ignore[override]
        """Iterate over messages."""
        entitlements = super().list_entitlements(*arguments, **named)
        return (each.message async for each in entitlements)
