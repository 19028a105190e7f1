"""The optimistic loop: a change that others came before is made again, and not for ever."""

import pytest

from canuse_server.api.users.retry import MAX_ATTEMPTS, retry_on_conflict
from canuse_server.store.errors import ConflictError, StoreUnavailableError


async def test_a_change_is_made_again_until_no_other_comes_first() -> None:
    attempts = []

    async def change() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConflictError
        return "changed"

    assert await retry_on_conflict(change, "a thing") == "changed"
    assert len(attempts) == 3


async def test_a_change_that_others_always_come_before_fails_as_not_written() -> None:
    attempts = []

    async def change() -> None:
        attempts.append(1)
        raise ConflictError

    with pytest.raises(StoreUnavailableError, match="a thing"):
        await retry_on_conflict(change, "a thing")
    assert len(attempts) == MAX_ATTEMPTS


async def test_another_error_ends_it_at_once() -> None:
    attempts = []

    async def change() -> None:
        attempts.append(1)
        raise StoreUnavailableError("the store is down")

    with pytest.raises(StoreUnavailableError, match="the store is down"):
        await retry_on_conflict(change, "a thing")
    assert len(attempts) == 1
