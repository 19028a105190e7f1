"""The fuzzer, in a process of its own: `python -m chaos.fuzz URL SEED RUNS SECONDS METHOD...`, METHOD a path or `all`.

Atheris looks which parts of the server an input reaches, and goes on with those that reach new ones. The endpoints are
called as both transports call them, in a world on a real, empty store. It ends with how many calls were made, in words
of libFuzzer, or with the input that broke a promise, and then with another status than 0.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import atheris
import structlog

with atheris.instrument_imports(include=["canuse_server"], enable_loader_override=False):
    from canuse_server.api.admission import AdmissionLimit
    from canuse_server.api.dispatch import Dispatcher
    from canuse_server.app import wiring
    from canuse_server.app.startup import prepare_store
    from canuse_server.auth.access import Access
    from canuse_server.settings import Settings
    from canuse_server.store.redis.address import StoreAddress

from chaos.fuzz_inputs import Inputs
from chaos.invariants import FuzzTarget

MAX_INPUT_BYTES: Final = 2048
"""How long an input gets, in bytes."""


async def prepare(stack: AsyncExitStack, url: str) -> FuzzTarget:
    """Return the dispatcher, with what the inputs speak of in the store."""
    settings = Settings.load(None, {"redis_url": url, "insecure_no_auth": True})
    environments = wiring._environments(settings, StoreAddress.from_url(url), stack)
    access = Access.of(environments, settings)
    await prepare_store(environments, partial(wiring._prepare, settings, environments, None), access, first=True)
    dispatcher = Dispatcher(wiring._handlers(access, None), access.authorizer, AdmissionLimit(1000, 1 << 30))
    target = FuzzTarget(environments.open, dispatcher)
    await target.reset()
    return target


def main() -> None:
    """Do what the command line says."""
    url, seed, runs, seconds, *methods = sys.argv[1:]
    # What goes wrong is told by the fuzzer, with the input.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    run: Callable[[Coroutine[Any, Any, Any]], Any] = loop.run_until_complete
    target: FuzzTarget = run(prepare(AsyncExitStack(), url))
    inputs = Inputs(target.paths if methods == ["all"] else methods)

    def one(data: bytes) -> None:
        path, payload = inputs.read(atheris.FuzzedDataProvider(data))
        try:
            run(target.check(path, payload))
        except BaseException:
            print(f"broken by {path} {payload.hex()}", flush=True)
            raise

    with tempfile.TemporaryDirectory() as folder:
        for number, example in enumerate(inputs.examples()):
            (Path(folder) / str(number)).write_bytes(example)
        limits = [f"-seed={seed}", f"-runs={runs}", f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}"]
        # What it finds is in what it prints; a file of it would be left in whatever folder this runs in.
        limits += ["-print_final_stats=1", "-timeout=20", "-verbosity=0", f"-artifact_prefix={folder}/"]
        atheris.Setup([sys.argv[0], *limits, folder], one)
        atheris.Fuzz()  # It does not return: it ends the process.


if __name__ == "__main__":
    main()
