"""Code of a caller, checked by mypy and Pyright in their strict modes. It is not run."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, assert_type

import canuse
from canuse import v1

client = canuse.Client(
    retry=canuse.Retry(max_seconds=2), unavailable={"api-calls": "last_known"}, unavailable_default="raise"
)
leased = canuse.Client(leases={"api-calls": canuse.Lease(report_seconds=0.5)})
assert_type(leased.use_feature("124", "api-calls").local, bool)
assert_type([lease.left for lease in leased.leases().held], list[int])
asynchronous = canuse.AsyncClient(tls=canuse.Tls(ca="ca.pem"), retry=False)

if answer := client.can_use("124", "api-calls", explain=True):
    assert_type(answer, canuse.CanUseAnswer)
    assert_type(answer.reason, canuse.Reason)
    assert_type(answer.failure, canuse.CanuseError | None)
    if answer.consumption is not None:
        assert_type(answer.consumption.remaining, int | None)
assert_type(client.use_feature("124", "api-calls").raise_if_denied("API calls"), canuse.UseFeatureAnswer)
assert_type(client.create_usage_event("124", "api-calls", metadata={"job": "1"}), canuse.CreateUsageEventAnswer)
assert_type(client.use_features("124", {"api-calls": 1}).consumptions, tuple[canuse.Consumption | None, ...])
assert_type(client.reserve("124", "api-calls", 5).lease_id, str)
assert_type(client.entitlements("124"), dict[str, canuse.Entitlement])
assert_type(client.list_entitlements("124"), Iterator[canuse.Entitlement])
assert_type(client.ensure_user("124", name="Ada", package_id="pro"), v1.EnsureUserResponse)
for item in client.batch_can_use([v1.CanUseRequest(user_id="124", feature_id="sso")]):
    if isinstance(item, canuse.CanuseError):
        assert_type(item.event_id, str)
    else:
        assert_type(item, canuse.CanUseAnswer)

with client.using("124", "api-calls", 3) as use:
    assert_type(use, canuse.Use)
    assert_type(use.answer, canuse.ReserveAnswer | canuse.CanUseAnswer)
    use.delta = 2


@client.limited("api-calls", user="user_id")
def search(words: str, *, user_id: str) -> list[str]:
    """Search."""
    return words.split()


def user_of(request: dict[str, str]) -> str:
    """Return the user of a request."""
    return request["user"]


@asynchronous.limited("api-calls", 2, user=user_of)
async def handle(request: dict[str, str]) -> int:
    """Handle a request."""
    return len(request)


assert_type(search("two words", user_id="124"), list[str])
handler: Callable[[dict[str, str]], Coroutine[Any, Any, int]] = handle


async def call() -> None:
    """Call from asyncio."""
    async with asynchronous as entered:
        assert_type(entered, canuse.AsyncClient)
        assert_type(await entered.can_use("124", "api-calls"), canuse.CanUseAnswer)
        assert_type(await entered.entitlements("124", include_locked=True), dict[str, canuse.Entitlement])
        async for entitlement in entered.list_entitlements("124"):
            assert_type(entitlement, canuse.Entitlement)
        async with entered.using("124", "api-calls") as block:
            assert_type(block, canuse.Use)


try:
    asyncio.run(call())
except canuse.AccessDenied as denied:
    assert_type(denied.message, str)
except canuse.CanuseError as error:
    assert_type(error.retry_after_seconds, float | None)
