"""What a lane remembers of requests that come again and again.

The same check is asked many times between two uses, and the same use is recorded many times. Nothing is answered from
here without the store: what is saved is to read the same request again, and to work out the same answer from the same
reply.
"""

from dataclasses import dataclass
from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.method import HotMethod, Plan
from canuse_server.store.redis.replies import pack, reply_bytes

MAX_REQUESTS: Final = 8192
"""How many requests a lane remembers in each environment. When it is full it starts afresh."""
MAX_BYTES: Final = 32 << 20
"""How many bytes these requests take at most, with all that is kept with them: 4 KiB each, half of which usual ones
take."""
MAX_PAYLOAD_BYTES: Final = 1024
"""The largest request that is remembered: any that has no more in it than it needs is smaller."""
MAX_ANSWER_BYTES: Final = 1024
"""The largest reply and response that are remembered, together."""
OBJECT_BYTES: Final = 1280
"""What a request takes besides bytes: itself, its plan, its reply."""
MAX_SEEN: Final = MAX_REQUESTS
"""How many requests a lane knows to have come once. Only what comes a second time while these are others is worth being
remembered: what takes longer would be forgotten before it comes again."""


@dataclass(slots=True)
class Request:
    """A request on its way, or one that may come again.

    `response` answers `reply` from `from_ms` to before `until_ms`, on the store's clock.
    """

    method: HotMethod
    plan: Plan
    packed: bytes
    reply: object = None
    response: bytes = b""
    from_ms: int = 0
    until_ms: int = 0
    kept: bool = False
    held_bytes: int = 0
    """How many bytes it takes where it is kept."""


class RequestCache:
    """The requests of one lane in one environment, by method and bytes. `held_bytes` is what they take."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self._requests: dict[tuple[int, bytes], Request] = {}
        self._seen: set[int] = set()
        self.held_bytes = 0

    def __len__(self) -> int:
        """Return how many requests are remembered."""
        return len(self._requests)

    def request(self, method_id: int, method: HotMethod, payload: bytes) -> Request:
        """Plan a request, or find it planned; raises what `plan` raises."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            plan = method.plan(payload, self.env)
            return Request(method, plan, pack(plan.command.command))
        key = (method_id, payload)
        known = self._requests.get(key)
        if known is not None:
            feature = known.plan.features[0]
            # A feature that has changed is another object.
            if self.env.cache.features.get(feature.id) is feature:
                return known
        plan = method.plan(payload, self.env)
        request = Request(method, plan, pack(plan.command.command))
        if plan.repeatable:
            self._note(key, request)
        return request

    def _note(self, key: tuple[int, bytes], request: Request) -> None:
        mark = hash(key)
        if mark not in self._seen:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(mark)
            return
        # Its plan holds what the payload says and what the command is made of: each is there twice.
        request.held_bytes = OBJECT_BYTES + 2 * len(key[1]) + 2 * len(request.packed)
        if not request.method.writes:
            request.held_bytes += MAX_ANSWER_BYTES
        if (outdated := self._requests.pop(key, None)) is not None:
            self.held_bytes -= outdated.held_bytes
        if len(self._requests) >= MAX_REQUESTS or self.held_bytes + request.held_bytes > MAX_BYTES:
            self._requests.clear()
            self.held_bytes = 0
        request.kept = True
        self._requests[key] = request
        self.held_bytes += request.held_bytes

    def respond(self, request: Request, reply: object, now_ms: int) -> bytes:
        """Answer a request by the store's reply; raises what the method's `respond` raises."""
        method, plan = request.method, request.plan
        if method.writes:
            return method.respond(plan, reply, now_ms)
        if request.from_ms <= now_ms < request.until_ms and reply == request.reply:
            return request.response
        response = method.respond(plan, reply, now_ms)
        if request.kept and len(response) + reply_bytes(reply) <= MAX_ANSWER_BYTES:
            request.reply, request.response = reply, response
            request.from_ms, request.until_ms = now_ms, method.holds_until_ms(reply, now_ms)
        return response
