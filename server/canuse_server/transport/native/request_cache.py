"""The lane's cache of repeated requests.

The same check is repeated many times between two uses, and the same use is recorded many times. The store is still
asked each time; the cache saves parsing the same request again and computing the same response from the same reply. For
the same request of other users, or with other event ids, it has a template.
"""

from dataclasses import dataclass
from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.method import HotMethod, Plan
from canuse_server.api.hotpath.request_ids import CutRequest, TemplateKey, cut
from canuse_server.store.redis.replies import pack, reply_bytes
from canuse_server.transport.native.request_templates import RequestTemplate, template_of

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
MAX_TEMPLATES: Final = 1024
"""Maximum number of templates in each environment. If there are more, all are dropped."""
TEMPLATE_BYTES: Final = 1536
"""Size of the objects of a template, without the bytes in them."""
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
    held_bytes: int = 0
    """Size in the cache, in bytes."""


class RequestCache:
    """The cached requests of one lane in one environment, by method and bytes, and the templates by what they do not
    replace. `held_bytes` is their total size."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self._requests: dict[tuple[int, bytes], Request] = {}
        self._templates: dict[TemplateKey, RequestTemplate] = {}
        self._seen: set[int] = set()
        self._template_bytes = 0
        self.held_bytes = 0

    def __len__(self) -> int:
        """Return the number of cached requests."""
        return len(self._requests)

    @property
    def template_count(self) -> int:
        """The number of templates."""
        return len(self._templates)

    def request(self, method_id: int, method: HotMethod, payload: bytes) -> Request:
        """Return the request from the cache, or plan it. Raises the errors of `plan`."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            plan = method.plan(payload, self.env)
            return Request(method, plan, pack(plan.command.command))
        key = (method_id, payload)
        cached = self._requests.get(key)
        if cached is not None:
            feature = cached.plan.features[0]
            # A changed feature is a new object.
            if self.env.cache.features.get(feature.id) is feature:
                return cached
        parts = cut(method_id, method, payload) if method.user_tag else None
        filled = None
        if parts is not None and (template := self._templates.get(parts[0])) is not None:
            feature = template.features[0]
            if self.env.cache.features.get(feature.id) is feature:
                _, user_id, event_id = parts
                filled = template.fill(user_id, event_id)
        plan, packed = filled or self._planned(method, payload, parts)
        request = Request(method, plan, packed)
        # A request with an event id of its own does not come again.
        if plan.cacheable and not (parts and parts[2]) and self._is_repeated(key):
            self._cache(key, request)
        return request

    def _planned(self, method: HotMethod, payload: bytes, parts: CutRequest | None) -> tuple[Plan, bytes]:
        """Plan a request; return also the packed command. If it came before with other ids, keep its template."""
        plan = method.plan(payload, self.env)
        packed = pack(plan.command.command)
        if parts is not None and plan.cacheable and self._is_repeated(parts[0]):
            template = template_of(method, parts[0], packed, self.env)
            if template is not None:
                self._keep_template(parts[0], template)
        return plan, packed

    def _is_repeated(self, key: tuple[int, bytes] | TemplateKey) -> bool:
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
        if not request.method.writes:
            request.held_bytes += MAX_ANSWER_BYTES
        if (outdated := self._requests.pop(key, None)) is not None:
            self.held_bytes -= outdated.held_bytes
        self._make_room(request.held_bytes)
        request.cached = True
        self._requests[key] = request
        self.held_bytes += request.held_bytes

    def _make_room(self, size: int) -> None:
        if len(self._requests) >= MAX_REQUESTS or self.held_bytes + size > MAX_BYTES:
            self._requests.clear()
            self.held_bytes = self._template_bytes

    def _keep_template(self, key: TemplateKey, template: RequestTemplate) -> None:
        size = TEMPLATE_BYTES + len(key[-1]) + template.size
        if len(self._templates) >= MAX_TEMPLATES and key not in self._templates:
            self.held_bytes -= self._template_bytes
            self._template_bytes = 0
            self._templates.clear()
        self._make_room(size)
        if key not in self._templates:
            self.held_bytes += size
            self._template_bytes += size
        self._templates[key] = template

    def respond(self, request: Request, reply: object, now_ms: int) -> bytes:
        """Return the response for the store's reply. Raises the errors of the method's `respond`."""
        method, plan = request.method, request.plan
        if method.writes:
            return method.respond(plan, reply, now_ms)
        is_same = request.cached and reply == request.reply
        if is_same and request.from_ms <= now_ms < request.until_ms:
            return request.response
        response = method.respond(plan, reply, now_ms)
        # How long it holds is computed with the second of the same replies: between two uses there may be one only.
        if is_same:
            request.response = response
            request.from_ms, request.until_ms = now_ms, method.holds_until_ms(response, reply, now_ms)
        elif request.cached and len(response) + reply_bytes(reply) <= MAX_ANSWER_BYTES:
            request.reply, request.until_ms = reply, 0
        return response
