"""A channel of gRPC that calls over HTTP: stubs and clients on it make each call with the Connect protocol.

A request is sent as JSON, unless it has no form in JSON: bytes that are no such message, times that JSON can't
express, or a large one. Such a call is made as proto, and so are batches: the bytes of the errors in
their answers, which tests compare, would be others after a detour through JSON.
"""

import base64
import json
import struct
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import grpc
import httpx
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from canuse_server.api.bounds import MAX_REQUEST_BYTES
from canuse_server.transport.http.errors import CODES

TIMEOUT_SECONDS: Final = 60
MAX_JSON_BYTES: Final = 256 << 10
"""The largest request, in bytes of protobuf, that is made as JSON here: to write more takes long."""
_THREADS: Final = ThreadPoolExecutor(32, "connect")
_ENVELOPE: Final = struct.Struct(">BI")
_END: Final = 2
_STATUSES: Final = {code.name: status for status, code in CODES.items()}


class ConnectError(grpc.RpcError, grpc.Call):
    """A failed call, with what stubs of gRPC give of it. `request`: what was sent as JSON, which has other names."""

    def __init__(self, error: dict[str, Any], request: Descriptor | None = None) -> None:
        super().__init__()
        self._code = _STATUSES[error["code"]]
        status = Status(code=self._code.value[0], message=error["message"])
        for detail in error.get("details", ()):
            value = base64.b64decode(detail["value"] + "==")
            status.details.add(type_url=f"type.googleapis.com/{detail['type']}", value=value)
        if request is not None:
            restore_names(status, request)
        self._message = status.message
        self._metadata = (("grpc-status-details-bin", status.SerializeToString()),)

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return the message."""
        return str(self._message)

    def trailing_metadata(self) -> Any:
        """Return the details."""
        return self._metadata

    def initial_metadata(self) -> Any:
        """Return nothing."""
        return ()

    def is_active(self) -> bool:
        """Return whether the call goes on: it never does."""
        return False

    def time_remaining(self) -> float:
        """Return nothing."""
        return 0.0

    def cancel(self) -> bool:
        """Do nothing."""
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Do nothing."""
        return False

    def __str__(self) -> str:
        return f"{self._code}: {self._message}"


def restore_names(status: Status, request: Descriptor) -> None:
    """Give the fields in an error the names that they have in protobuf and over gRPC."""
    for detail in status.details:
        info, bad = ErrorInfo(), BadRequest()
        if detail.Unpack(info) and "field" in info.metadata:
            info.metadata["field"] = _path_in_proto(info.metadata["field"], request)
            detail.Pack(info)
        elif detail.Unpack(bad):
            for violation in bad.field_violations:
                name = _path_in_proto(violation.field, request)
                status.message = status.message.replace(f"{violation.field}: ", f"{name}: ", 1)
                violation.field = name
            detail.Pack(bad)


def _path_in_proto(path: str, message: Descriptor | None) -> str:
    step, dot, rest = path.partition(".")
    name, bracket, index = step.partition("[")
    field = next((each for each in message.fields if each.json_name == name), None) if message else None
    if field is None:
        return path
    return field.name + bracket + index + dot + _path_in_proto(rest, field.message_type)


class _Body(NamedTuple):
    codec: str
    content: bytes


class _Method:
    """A method of the API, to be called over HTTP."""

    def __init__(self, http: httpx.Client, path: str, serialize: Any, deserialize: Any) -> None:
        self._http = http
        self._path = path
        self._serialize = serialize or bytes
        self._deserialize = deserialize or bytes
        self._descriptor = _descriptor(path)

    def request(self, request: Any) -> _Body:
        """Return the request as it is sent."""
        payload: bytes = self._serialize(request)
        try:
            if len(payload) > MAX_JSON_BYTES or self._descriptor is None or "status" in _item_fields(self._descriptor):
                return _Body("proto", payload)
            message = GetMessageClass(self._descriptor.input_type).FromString(payload)
            text = MessageToJson(message)
            if len(text) <= MAX_REQUEST_BYTES and _parsed(text, message) == message:
                return _Body("json", text.encode())
        except (DecodeError, json_format.Error, ValueError):
            pass
        return _Body("proto", payload)

    def answer(self, codec: str, content: bytes) -> Any:
        """Return the answer."""
        if codec == "json":
            assert self._descriptor is not None
            message = GetMessageClass(self._descriptor.output_type)()
            content = Parse(content.decode(), message).SerializeToString()
        return self._deserialize(content)

    def in_json(self, codec: str) -> Descriptor | None:
        """Return the request, if it was sent as JSON."""
        return self._descriptor.input_type if codec == "json" and self._descriptor else None

    def headers(self, kind: str, timeout: float | None, metadata: Any) -> dict[str, str]:
        """Return the headers of a call."""
        seconds = {} if timeout is None else {"connect-timeout-ms": str(max(1, round(timeout * 1000)))}
        return {"content-type": f"application/{kind}", **seconds, **dict(metadata or ())}

    @property
    def url(self) -> str:
        """Where it is."""
        return self._path


def _descriptor(path: str) -> MethodDescriptor | None:
    _, service, name = path.split("/")
    try:
        return Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None


def _item_fields(method: MethodDescriptor) -> Collection[str]:
    """Return the names of the fields of the items of a batch's answer."""
    results = method.output_type.fields_by_name.get("results")
    return () if results is None or results.message_type is None else results.message_type.fields_by_name


def _parsed(text: str, like: Message) -> Message:
    return Parse(text, type(like)())


class _Unary(_Method):
    """A method that answers once."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: Any = None,
        compression: Any = None,
    ) -> Any:
        body = self.request(request)
        headers = self.headers(body.codec, timeout, metadata)
        answer = self._http.post(self.url, content=body.content, headers=headers)
        if answer.status_code != 200:
            raise ConnectError(answer.json(), self.in_json(body.codec))
        assert answer.headers["content-type"] == headers["content-type"]
        return self.answer(body.codec, answer.content)

    def future(self, *arguments: Any, **named: Any) -> "_Pending":
        """Make the call meanwhile."""
        return _Pending(_THREADS.submit(self, *arguments, **named))


class _Pending:
    """A call that is being made."""

    def __init__(self, call: "Future[Any]") -> None:
        self._call = call
        self.result = call.result
        self.done = call.done

    def code(self) -> grpc.StatusCode:
        """Wait for its status and return it."""
        error = self._call.exception()
        return error.code() if isinstance(error, ConnectError) else grpc.StatusCode.OK


class _Stream(_Method):
    """A method that answers with a stream."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: Any = None,
        compression: Any = None,
    ) -> Any:
        body = self.request(request)
        headers = self.headers(f"connect+{body.codec}", timeout, metadata)
        content = _ENVELOPE.pack(0, len(body.content)) + body.content
        return _Messages(self._messages(body.codec, content, headers))

    def _messages(self, codec: str, content: bytes, headers: dict[str, str]) -> Iterator[Any]:
        with self._http.stream("POST", self.url, content=content, headers=headers) as answer:
            if answer.status_code != 200:
                raise ConnectError(json.loads(answer.read()))
            for flags, message in envelopes(answer.iter_raw()):
                if flags & _END:
                    if error := json.loads(message).get("error"):
                        raise ConnectError(error, self.in_json(codec))
                    return
                yield self.answer(codec, message)
            raise AssertionError("the stream ended without a last envelope")


class _Messages:
    """The answer of a call that streams."""

    def __init__(self, messages: Iterator[Any]) -> None:
        self._messages = messages

    def __iter__(self) -> Iterator[Any]:
        return self._messages

    def __next__(self) -> Any:
        return next(self._messages)

    def cancel(self) -> bool:
        """Take no more of it."""
        self._messages.close()  # type: ignore[attr-defined]
        return True


def envelopes(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the flags and the content of each envelope in the body of an answer."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        while len(rest) >= _ENVELOPE.size:
            flags, length = _ENVELOPE.unpack_from(rest)
            end = _ENVELOPE.size + length
            if len(rest) < end:
                break
            yield flags, rest[_ENVELOPE.size : end]
            rest = rest[end:]
    assert not rest


class ConnectChannel(grpc.Channel):
    """A channel to an HTTP port."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, verify=False)  # certificates take long to load

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """See grpc.Channel; of a method that answers with a stream it is the first message."""
        if (descriptor := _descriptor(method)) is not None and descriptor.server_streaming:
            stream = _Stream(self._http, method, request_serializer, response_deserializer)
            return lambda *arguments, **named: next(stream(*arguments, **named))
        return _Unary(self._http, method, request_serializer, response_deserializer)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """See grpc.Channel."""
        return _Stream(self._http, method, request_serializer, response_deserializer)

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """See grpc.Channel; the API has no such methods."""
        raise NotImplementedError

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """See grpc.Channel; the API has no such methods."""
        raise NotImplementedError

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """Do nothing."""

    def unsubscribe(self, callback: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "ConnectChannel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
