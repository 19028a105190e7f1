"""The lane's cache of repeated requests.

The same check is repeated many times between two uses, and the same use is recorded many times. The store is still
asked each time; the cache saves parsing the same request again and computing the same response from the same reply.
"""

from dataclasses import dataclass
from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.method import HotMethod, Plan
from canuse_server.store.redis.replies import pack, reply_bytes
from canuse_server.transport.native.event_templates import EventField, EventTemplate, find_event_id

MAX_REQUESTS: Final = 8192
"""Maximum number of cached requests in each environment. A full cache is cleared."""
MAX_BYTES: Final = 32 << 20
"""Maximum size of these requests with everything cached for them: 4 KiB each, of which a typical one needs half."""
MAX_PAYLOAD_BYTES: Final = 1024
"""Maximum size of a cached request. Requests without unknown fields or unusually long ids are smaller."""
MAX_ANSWER_BYTES: Final = 1024
"""Maximum total size of a cached reply and its response."""
OBJECT_BYTES: Final = 1280
"""Size of the objects of a cached request, without the bytes in them."""
TEMPLATE_BYTES: Final = 512
"""Size of the objects of its template for other event ids, if it has one, without the bytes in them."""
MAX_SEEN: Final = MAX_REQUESTS
"""Maximum number of hashes of requests that were seen once. A request is cached when it is repeated within that many
others: one that repeats less often would be evicted before its next repetition."""


@dataclass(slots=True)
class Request:
    """A planned request.

    `response` is the response to `reply` from `from_ms` to before `until_ms`, by the store's clock.
    """

    method: HotMethod
    plan: Plan
    packed: bytes
    reply: object = None
    response: bytes = b""
    from_ms: int = 0
    until_ms: int = 0
    cached: bool = False
    template: EventTemplate | None = None
    """Makes the request for other event ids, if it has an event id."""
    held_bytes: int = 0
    """Size in the cache, in bytes."""


class RequestCache:
    """The cached requests of one lane in one environment, by method and bytes. `held_bytes` is their total size."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self._requests: dict[tuple[int, bytes], Request] = {}
        self._seen: set[int] = set()
        self.held_bytes = 0

    def __len__(self) -> int:
        """Return the number of cached requests."""
        return len(self._requests)

    def request(self, method_id: int, method: HotMethod, payload: bytes) -> Request:
        """Return the request from the cache, or plan it. Raises the errors of `plan`."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            plan = method.plan(payload, self.env)
            return Request(method, plan, pack(plan.command.command))
        key = (method_id, payload)
        # As in `_find`, which would be one more call for each request: 1 % of a check.
        cached = self._requests.get(key)
        if cached is not None:
            feature = cached.plan.features[0]
            if self.env.cache.features.get(feature.id) is feature:
                return cached
        field = find_event_id(payload, method.event_tag) if method.event_tag else None
        if field is not None:
            return self._with_event_id(method_id, method, payload, field)
        plan = method.plan(payload, self.env)
        request = Request(method, plan, pack(plan.command.command))
        if plan.repeatable and self._is_repeated(key):
            self._cache(key, request)
        return request

    def _find(self, key: tuple[int, bytes]) -> Request | None:
        cached = self._requests.get(key)
        if cached is not None:
            feature = cached.plan.features[0]
            # A changed feature is a new object.
            if self.env.cache.features.get(feature.id) is feature:
                return cached
        return None

    def _with_event_id(self, method_id: int, method: HotMethod, payload: bytes, field: EventField) -> Request:
        """Plan a request with an event id. It is cached without the id: only the rest is the same in other requests."""
        key = (-1 - method_id, payload[: field.field_at] + payload[field.end :])
        cached = self._find(key)
        if cached is not None and cached.template is not None:
            filled = cached.template.fill(payload[field.id_at : field.end])
            if filled is not None:
                return Request(method, *filled)
        plan = method.plan(payload, self.env)
        request = Request(method, plan, pack(plan.command.command))
        # The rest must have no event id: if a request has two, the last one is valid.
        if plan.repeatable and self._is_repeated(key) and not method.plan(key[1], self.env).event_id:
            request.template = EventTemplate(plan, self.env.store.event_key)
            self._cache(key, request)
        return request

    def _is_repeated(self, key: tuple[int, bytes]) -> bool:
        """Whether a request has come before, as far as is known; note that it has come."""
        key_hash = hash(key)
        if key_hash in self._seen:
            return True
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen.add(key_hash)
        return False

    def _cache(self, key: tuple[int, bytes], request: Request) -> None:
        # The plan contains the ids of the payload and the parts of the command a second time.
        request.held_bytes = OBJECT_BYTES + 2 * len(key[1]) + 2 * len(request.packed)
        if request.template is not None:
            request.held_bytes += TEMPLATE_BYTES + len(request.packed)
        if not request.method.writes:
            request.held_bytes += MAX_ANSWER_BYTES
        if (outdated := self._requests.pop(key, None)) is not None:
            self.held_bytes -= outdated.held_bytes
        if len(self._requests) >= MAX_REQUESTS or self.held_bytes + request.held_bytes > MAX_BYTES:
            self._requests.clear()
            self.held_bytes = 0
        request.cached = True
        self._requests[key] = request
        self.held_bytes += request.held_bytes

    def respond(self, request: Request, reply: object, now_ms: int) -> bytes:
        """Return the response for the store's reply. Raises the errors of the method's `respond`."""
        method, plan = request.method, request.plan
        if method.writes:
            return method.respond(plan, reply, now_ms)
        if request.from_ms <= now_ms < request.until_ms and reply == request.reply:
            return request.response
        response = method.respond(plan, reply, now_ms)
        if request.cached and len(response) + reply_bytes(reply) <= MAX_ANSWER_BYTES:
            request.reply, request.response = reply, response
            request.from_ms, request.until_ms = now_ms, method.holds_until_ms(response, reply, now_ms)
        return response
