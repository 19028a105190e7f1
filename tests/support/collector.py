"""A collector of traces that speaks OTLP, over gRPC and over HTTP, with OpenTelemetry's own messages."""

import gzip
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from support.certificates import Pair
from support.load import until

SERVER = trace_pb2.Span.SPAN_KIND_SERVER
CLIENT = trace_pb2.Span.SPAN_KIND_CLIENT
ERROR = trace_pb2.Status.STATUS_CODE_ERROR


class Received(NamedTuple):
    """A span that has arrived, with what it says about the process that sent it."""

    span: trace_pb2.Span
    resource: dict[str, Any]

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the span."""
        return values(self.span.attributes)


class Collector:
    """Keeps the spans that it receives."""

    def __init__(self) -> None:
        self._received: list[Received] = []
        self._lock = threading.Lock()
        self.grpc_url = self.http_url = ""
        self.metadata: list[dict[str, Any]] = []
        """The metadata or the headers of each request."""

    def take(self, request: trace_service_pb2.ExportTraceServiceRequest, metadata: dict[str, Any]) -> None:
        """Keep the spans of a request."""
        with self._lock:
            self.metadata.append(metadata)
            for resource_spans in request.resource_spans:
                resource = values(resource_spans.resource.attributes)
                for scope_spans in resource_spans.scope_spans:
                    self._received += [Received(span, resource) for span in scope_spans.spans]

    @property
    def spans(self) -> list[Received]:
        """All spans so far."""
        with self._lock:
            return list(self._received)

    def trace(self, trace_id: bytes, count: int) -> list[Received]:
        """Wait until a trace has a number of spans; return them by their start, parents before children."""

        def found() -> list[Received]:
            return [received for received in self.spans if received.span.trace_id == trace_id]

        until(lambda: len(found()) >= count)
        return sorted(found(), key=lambda received: (received.span.start_time_unix_nano, received.span.kind == CLIENT))


def check_nested(spans: list[Received]) -> None:
    """Check that each span lies within its parent, on one clock."""
    by_id = {received.span.span_id: received.span for received in spans}
    for received in spans:
        parent = by_id.get(received.span.parent_span_id)
        if parent is not None:
            assert parent.start_time_unix_nano <= received.span.start_time_unix_nano, spans
            assert received.span.end_time_unix_nano <= parent.end_time_unix_nano, spans


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)


class _TraceService(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the method
        """Receive spans over gRPC."""
        self._collector.take(request, dict(context.invocation_metadata()))
        return trace_service_pb2.ExportTraceServiceResponse()


def _http_server(collector: Collector) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Receive spans over HTTP."""
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            is_for_traces = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
            if is_for_traces:
                request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
                collector.take(request, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200 if is_for_traces else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@contextmanager
def collecting(certificate: Pair | None = None) -> Iterator[Collector]:
    """Run a collector, with TLS if it has a certificate."""
    collector, scheme = Collector(), "http" if certificate is None else "https"
    server: Any = grpc.server(ThreadPoolExecutor(max_workers=4))
    add_servicer: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add_servicer(_TraceService(collector), server)
    http = _http_server(collector)
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = certificate.key.read_bytes(), certificate.certificate.read_bytes()
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    collector.grpc_url = f"{scheme}://127.0.0.1:{port}"
    collector.http_url = f"{scheme}://127.0.0.1:{http.server_address[1]}"
    server.start()
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()
        http.shutdown()
        thread.join()
        http.server_close()
