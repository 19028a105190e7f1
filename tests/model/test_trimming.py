"""Trimming changes no answer: a server whose store is trimmed before every call answers as the model does."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

import pytest

from canuse_server.domain.periods import DAY_MS
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.trimming.slices import Slices
from model.machine import Machine
from model.observations import DEDUPE_TTL
from model.runner import run_examples, running_server
from model.system_under_test import SystemUnderTest
from support.store_inspection import KEYS
from support.stores import valkey_socket

SEED: Final = 8
EXAMPLES: Final = 30
RETENTION: Final = Retention(DEDUPE_TTL, 3650 * DAY_MS, 62)
"""That of the server."""
MIN_TRIMMED: Final = 20


class TrimmedMachine(Machine):
    """The state machine, and passes over its users: before each call, and while no call comes."""

    runner: ClassVar[asyncio.Runner]
    trimmed: ClassVar[Counter[str]]
    _trims: ClassVar[Store | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.trimmed_at = 0

    @property
    def server(self) -> SystemUnderTest:
        """See BaseMachine."""
        self.trim(self.model.now)
        return super().server

    def set_clock(self, now: int) -> None:
        """See BaseMachine."""
        for moment in (self.model.now + (now - self.model.now) // 2, now - 1):
            self.trim(moment)
        super().set_clock(now)

    def trim(self, now: int) -> None:
        """Trim all that belongs to the users of the example, at a moment."""
        # The clock of the store does not step back.
        self.trimmed_at = max(now, self.trimmed_at)
        if self.user_ids:
            self.runner.run(self._trim(self.trimmed_at))

    async def _trim(self, now: int) -> None:
        kind = type(self)
        if kind._trims is None:
            url = f"unix://{quote(valkey_socket(self.canuse))}"
            kind._trims = Store(StoreAddress.from_url(url), 30.0)
            await kind._trims.load_scripts()
        kind._trims.manual_now_ms = now
        slices = Slices(kind._trims, RETENTION)
        names = [name for user_id in self.user_ids for name in (KEYS.leases_due(user_id), KEYS.history(user_id))]
        await slices.trim([name.encode() for name in names])
        assert not slices.failures
        kind.trimmed.update(slices.trimmed)

    @classmethod
    def disconnect(cls) -> None:
        """See BaseMachine."""
        if cls._trims is not None:
            cls.runner.run(cls._trims.close())
            cls._trims = None
        super().disconnect()


@pytest.mark.extended
def test_a_server_whose_store_is_trimmed_at_any_moment_answers_as_the_model_does(tmp_path: Path) -> None:
    trimmed: Counter[str] = Counter()
    with asyncio.Runner() as runner, running_server(tmp_path, "native") as canuse:
        machine = type("Trimmed", (TrimmedMachine,), {"runner": runner, "trimmed": trimmed})
        assert run_examples(canuse, SEED, EXAMPLES, machine) > 0
    assert min(trimmed["leases"], trimmed["past_periods"]) >= MIN_TRIMMED, trimmed
