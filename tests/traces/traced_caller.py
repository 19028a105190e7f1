"""A program that traces, and calls a server with both clients.

python traced_caller.py ADDRESS COLLECTOR USER FEATURE PACKAGE
"""

import asyncio
import sys
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import canuse
from canuse import v1

address, collector, user_id, feature_id, package_id = sys.argv[1:]


def call() -> None:
    """Make calls of each kind with the synchronous client."""
    with canuse.Client(address) as client:
        assert client.can_use(user_id, feature_id)
        assert client.use_feature(user_id, feature_id, event_id="event-of-the-caller")
        assert client.can_use(user_id, feature_id, explain=True)
        client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)] * 3)
        client.get_user(user_id)
        assert list(client.migrate_subscriptions(package_id, dry_run=True))
        with suppress(canuse.NotFound):
            client.get_user("nobody-at-all")


async def call_async() -> None:
    """Make calls with the asynchronous client."""
    async with canuse.AsyncClient(address) as client:
        assert await client.can_use(user_id, feature_id)
        assert [message async for message in client.migrate_subscriptions(package_id, dry_run=True)]
        with suppress(canuse.NotFound):
            await client.get_user("nobody-at-all")


provider = TracerProvider(resource=Resource.create({"service.name": "caller"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector)))
trace.set_tracer_provider(provider)
call()
asyncio.run(call_async())
with trace.get_tracer("caller").start_as_current_span("page"), canuse.Client(address) as inside:
    inside.can_use(user_id, feature_id)
provider.shutdown()
