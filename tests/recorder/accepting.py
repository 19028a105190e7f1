"""A process that records events as fast as it can, and writes down each that was accepted, until it is killed.

python accepting.py <address of the server> <spool> <file for the ids of accepted events>
"""

import os
import sys
import threading

import canuse

THREADS = 2


def main(address: str, spool: str, accepted: str) -> None:
    """Record for ever."""
    file = os.open(accepted, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    recorder = canuse.Client(address, timeout_seconds=2).recorder(spool, wait_seconds=60, max_events=5000)

    def record() -> None:
        while True:
            event_id = recorder.record("124", "api-calls", 3)
            os.write(file, f"{event_id}\n".encode())

    threads = [threading.Thread(target=record) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    print("recording", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
