"""A gRPC server that fails its first calls as a test says, and notes every request."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from canuse import v1
from canuse._safety import methods
from canuse.errors import DETAILS_KEY, DOMAIN

DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", "-1")


@dataclass
class ScriptedServer:
    """Answers each call with an empty message, after the failures in `failures` of its method."""

    address: str = ""
    failures: dict[str, deque[tuple[StatusCode, str] | None]] = field(default_factory=lambda: defaultdict(deque))
    """Status and reason of the next calls, by method; None for one that is answered."""
    always: dict[str, tuple[StatusCode, str]] = field(default_factory=dict)
    """Status and reason of every call after those, by method."""
    answers: dict[str, Message] = field(default_factory=dict)
    """The answers, by method, in place of an empty message."""
    next_answers: dict[str, deque[Message]] = field(default_factory=lambda: defaultdict(deque))
    """The answers to the next calls, by method, before those."""
    requests: list[Any] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """What each request had as `authorization`."""

    def fail(self, method: str, *failures: tuple[StatusCode, str] | None) -> None:
        """Let the next calls of a method fail."""
        self.failures[method].extend(failures)

    def answer(self, method: str, request: Any, response: type[Message], context: grpc.ServicerContext) -> Any:
        """Answer a call, or fail it."""
        self.requests.append(request)
        metadata = dict(cast("Iterable[tuple[str, str]]", context.invocation_metadata()))
        self.keys.append(metadata.get("authorization", ""))
        script = self.failures[method]
        failure = script.popleft() if script else self.always.get(method)
        if failure:
            code, reason = failure
            if reason:
                context.set_trailing_metadata((DO_NOT_RETRY, (DETAILS_KEY, details(code, reason))))
            context.abort(code, f"scripted {reason}")
        if self.next_answers[method]:
            return self.next_answers[method].popleft()
        return self.answers.get(method) or response()


def details(code: StatusCode, reason: str) -> bytes:
    """Return the details of an error of the server."""
    packed = Packed()
    packed.Pack(ErrorInfo(domain=DOMAIN, reason=reason))
    status = Status(code=code.value[0], message=reason, details=[packed])
    serialized: bytes = status.SerializeToString()
    return serialized


@contextmanager
def scripted_server(address: str = "127.0.0.1:0") -> Iterator[ScriptedServer]:
    """Serve all unary methods on an address."""
    server = ScriptedServer()
    handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = defaultdict(dict)
    for method in methods():
        request, response = getattr(v1, method.input_type.name), getattr(v1, method.output_type.name)

        def answer(
            message: Any, context: grpc.ServicerContext, name: str = method.name, response: Any = response
        ) -> Any:
            return server.answer(name, message, response, context)

        handlers[method.containing_service.full_name][method.name] = grpc.unary_unary_rpc_method_handler(
            answer, request.FromString, response.SerializeToString
        )
    grpc_server = grpc.server(ThreadPoolExecutor(8))
    grpc_server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, found) for service, found in handlers.items()]
    )
    port = grpc_server.add_insecure_port(address)
    server.address = f"127.0.0.1:{port}"
    grpc_server.start()
    try:
        yield server
    finally:
        grpc_server.stop(None).wait()
