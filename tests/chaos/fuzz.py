"""The fuzzer, in a process of its own: `python -m chaos.fuzz URL SEED RUNS SECONDS METHOD...`, METHOD a path or `all`.

Atheris observes which parts of the server an input reaches, and mutates those that reach new ones. The endpoints are
called as both transports call them, in an environment on a real, empty store. At the end libFuzzer prints the number of
calls; when an input breaks an invariant, it prints that input and the server's log, and the status is not 0.
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

with atheris.instrument_imports(include=["canuse_server"], enable_loader_override=False):
    from canuse_server.api.admission import AdmissionLimit
    from canuse_server.api.dispatch import Dispatcher
    from canuse_server.app.servicers import all_handlers
    from canuse_server.app.startup import prepare_store
    from canuse_server.app.stores import environments_of, prepare
    from canuse_server.auth.access import Access
    from canuse_server.settings import Settings
    from canuse_server.store.redis.address import StoreAddress

from chaos.fuzz_inputs import Inputs
from chaos.invariants import FuzzTarget
from chaos.server_log import ServerLog

MAX_INPUT_BYTES: Final = 2048
"""Maximum length of an input, in bytes."""


async def fuzz_target(stack: AsyncExitStack, url: str) -> FuzzTarget:
    """Return the dispatcher, with the objects that the inputs refer to in the store."""
    # A slow machine is not an unavailable store.
    settings = Settings.load(None, {"redis_url": url, "insecure_no_auth": True, "store_timeout_seconds": 15})
    environments = environments_of(settings, StoreAddress.from_url(url), stack)
    access = Access.of(environments, settings)
    await prepare_store(environments, partial(prepare, settings, environments, None), access, first=True)
    dispatcher = Dispatcher(all_handlers(access, None), access.authorizer, AdmissionLimit(1000, 1 << 30))
    target = FuzzTarget(environments.open, dispatcher)
    await target.reset()
    return target


def main() -> None:
    """Run the fuzzer as the command line says."""
    url, seed, runs, seconds, *methods = sys.argv[1:]
    log = ServerLog()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    run: Callable[[Coroutine[Any, Any, Any]], Any] = loop.run_until_complete
    target: FuzzTarget = run(fuzz_target(AsyncExitStack(), url))
    inputs = Inputs(target.paths if methods == ["all"] else methods)

    def one(data: bytes) -> None:
        path, payload = inputs.read(atheris.FuzzedDataProvider(data))
        log.clear()
        try:
            run(target.check(path, payload))
        except BaseException:
            print(f"broken by {path} {payload.hex()}\nthe server's log:\n{log}", flush=True)
            raise

    with tempfile.TemporaryDirectory() as folder:
        for number, example in enumerate(inputs.examples()):
            (Path(folder) / str(number)).write_bytes(example)
        limits = [f"-seed={seed}", f"-runs={runs}", f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}"]
        # Its findings are in its output; a file of them would be left in whatever folder this runs in.
        limits += ["-print_final_stats=1", "-timeout=20", "-verbosity=0", f"-artifact_prefix={folder}/"]
        atheris.Setup([sys.argv[0], *limits, folder], one)
        atheris.Fuzz()  # It does not return: it ends the process.


if __name__ == "__main__":
    main()
