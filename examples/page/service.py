"""The service behind the page. It decides what its user may do; the page only shows it.

Messages are checked and recorded in one step, with `UseFeature`. How many pages are printed is known only afterwards:
that is checked with `CanUse` and recorded with `CreateUsageEvent`.
"""

import math
from typing import Annotated, Any, Final

from examples.page.printing import printed_pages
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from canuse import (
    AsyncClient,
    CanuseError,
    DeadlineExceeded,
    OutcomeUnknown,
    Reason,
    Unavailable,
)
from canuse.answers import CanUseAnswer, UseFeatureAnswer

MESSAGES: Final = "messages"
PAGES: Final = "printed-pages"
USER_ID: Final = "ada"
NOT_COUNTED: Final = "Nothing was counted."
MAYBE_COUNTED: Final = "It may have been counted: sending it again with the same Idempotency-Key counts it once."
MAX_PRINTS: Final = 1000
"""Number of prints that are kept for requests that are sent again."""


def signed_in_user() -> str:
    """Return the user of the request. A real service knows it from the login, never from what the page says."""
    return USER_ID


User = Annotated[str, Depends(signed_in_user)]
IdempotencyKey = Annotated[str, Header(min_length=1, max_length=100)]
"""Chosen by the page for each click, so that a request that is sent twice counts once."""


class Message(BaseModel):
    """A message to send."""

    text: str = Field(min_length=1, max_length=500)


def create_service(canuse: AsyncClient, canuse_url: str, *, manual_clock: bool) -> FastAPI:
    """Return the service. `canuse_url` is where the page reaches the HTTP port of canuse."""
    service = FastAPI(title="Messages")
    sent: dict[str, str] = {}
    """The messages by the id of their event."""
    prints: dict[str, int] = {}
    """The pages of the last prints by the id of their event."""

    @service.get("/api/session")
    async def session(user_id: User) -> dict[str, Any]:
        """Return what the page needs to ask canuse itself. The token reads what this user may use, and nothing else."""
        token = await canuse.generate_user_token(user_id)
        return {"userId": user_id, "token": token.token, "canuseUrl": canuse_url, "manualClock": manual_clock}

    @service.get("/api/messages")
    async def messages() -> list[str]:
        """Return the messages that were sent."""
        return list(sent.values())

    @service.post("/api/messages", status_code=201)
    async def send_message(message: Message, user_id: User, idempotency_key: IdempotencyKey) -> list[str]:
        """Send a message, and return all."""
        event_id = f"message-{idempotency_key}"
        answer = await canuse.use_feature(user_id, MESSAGES, event_id=event_id)
        if not answer:
            raise refusal(answer)
        # Not only if the use is new: of an earlier request it may be unknown whether it was counted.
        sent.setdefault(event_id, message.text)
        return list(sent.values())

    @service.post("/api/prints")
    async def print_messages(user_id: User, idempotency_key: IdempotencyKey) -> dict[str, int]:
        """Print all messages, and return the number of pages."""
        event_id = f"print-{idempotency_key}"
        pages = prints.get(event_id)
        if pages is None:
            answer = await canuse.can_use(user_id, PAGES)
            if not answer:
                raise refusal(answer)
            # Kept, since there may be more messages when the request is sent again.
            pages = prints[event_id] = len(printed_pages(sent.values()))
            if len(prints) > MAX_PRINTS:
                del prints[next(iter(prints))]
        if pages:
            await canuse.create_usage_event(user_id, PAGES, pages, event_id=event_id)
        return {"pages": pages}

    @service.exception_handler(CanuseError)
    async def canuse_failed(_: Request, error: CanuseError) -> JSONResponse:
        """Answer a request for which canuse failed, and say whether it may have been counted."""
        unavailable = isinstance(error, (Unavailable, DeadlineExceeded))
        message = f"{error.message}. {MAYBE_COUNTED if may_be_counted(error) else NOT_COUNTED}"
        return JSONResponse({"detail": {"message": message}}, 503 if unavailable else 500)

    return service


def may_be_counted(error: CanuseError) -> bool:
    """Whether a failed call may have recorded its use: its answer was lost, or the store did not confirm it."""
    return isinstance(error, (OutcomeUnknown, DeadlineExceeded)) or not error.reason


def refusal(answer: CanUseAnswer | UseFeatureAnswer) -> HTTPException:
    """Return the error for a no, with the reason and when it ends."""
    if answer.reason is Reason.REASON_STORE_UNAVAILABLE:
        # Nobody could check: canuse, or the client in its place, answered as the feature is set.
        return HTTPException(503, {"message": f"It could not be checked. {NOT_COUNTED}"})
    used_up = answer.reason is Reason.REASON_BUDGET_EXCEEDED
    resets_at = answer.consumption.resets_at if answer.consumption else None
    detail = {
        "reason": answer.reason.name,
        "message": "The budget is used up." if used_up else "The plan does not allow it.",
        "resetsAt": resets_at.isoformat() if resets_at else None,
    }
    wait = answer.retry_after
    headers = {"Retry-After": str(math.ceil(wait.total_seconds()))} if wait else None
    return HTTPException(429 if used_up else 403, detail, headers)
