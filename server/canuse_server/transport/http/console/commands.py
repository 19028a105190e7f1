"""How a program makes the calls that a page has made: with grpcurl, and with curl."""

import json
import shlex
from typing import NamedTuple

from google.protobuf.json_format import MessageToDict

from canuse_server.transport.http.console.calls import Made


class Command(NamedTuple):
    """The same call twice."""

    method: str
    grpcurl: str
    curl: str


def commands(made: Made, grpc_address: str, http_address: str, *, with_key: bool, secure: bool) -> Command:
    """Return the commands for a call; the key is taken from the environment of whoever runs them."""
    body = json.dumps(MessageToDict(made.request), ensure_ascii=False)
    key = ' -H "authorization: Bearer $CANUSE_API_KEY"' if with_key else ""
    method = made.path.removeprefix("/")
    plain = "" if secure else " -plaintext"
    grpcurl = f"grpcurl{plain}{key} \\\n  -d {shlex.quote(body)} \\\n  {grpc_address} {method}"
    content_type = " -H 'content-type: application/json'"
    curl = f"curl{key}{content_type} \\\n  -d {shlex.quote(body)} \\\n  {shlex.quote(http_address + made.path)}"
    return Command(method.rpartition(".")[2], grpcurl, curl)
