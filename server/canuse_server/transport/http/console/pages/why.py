"""Why a user may use a feature or not: the steps of the decision for any amount."""

from typing import Any, Final

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.console.forms import read_amount
from canuse_server.transport.http.console.visit import View, Visit
from canuse_server.transport.http.errors import code_of

_ANSWERS: Final = (ErrorReason.INVALID_FIELD, ErrorReason.FEATURE_NOT_FOUND)
"""The errors that are shown beside the form: something else is to be typed."""


async def read(visit: Visit) -> View:
    """Ask, if a feature is named, and show the steps."""
    user_id, feature_id, amount = visit.query("id"), visit.query("feature").strip(), visit.query("amount").strip()
    values: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "amount": amount or "1", "answer": None}
    view = View("why.html", {**values, "steps": [], "problem": ""})
    if not feature_id:
        return view
    try:
        request = pb.CanUseRequest(user_id=user_id, feature_id=feature_id, explain=True)
        if amount:
            request.delta = read_amount("amount", amount)
        answer = await visit.call("EntitlementService/CanUse", request, pb.CanUseResponse)
    except ApiError as error:
        if error.reason not in _ANSWERS:
            raise
        view.values["problem"], view.status = error.message, code_of(error).http_status
        return view
    view.values |= {"answer": answer, "steps": tree(answer)}
    return view


def tree(answer: pb.CanUseResponse) -> list[dict[str, Any]]:
    """Return the steps of a decision with those that belong to another one below it, and whether each helps."""
    steps: list[dict[str, Any]] = []
    for step in answer.explanation.steps:
        kind = step.WhichOneof("step") or ""
        node: dict[str, Any] = {"text": step.text, "kind": kind, "mark": _mark(kind, step), "below": []}
        if kind == "package_entry" and steps:
            steps[-1]["below"].append(node)
        else:
            steps.append(node)
    return steps


def _mark(kind: str, step: Any) -> str:
    """Return whether a step speaks for access, against it, does not count, or is for information."""
    marks = {
        "user": "no" if step.user.disabled else "yes",
        "feature": "no" if step.feature.archived else "yes",
        "subscription": "yes" if step.subscription.counts and step.subscription.lists_feature else "off",
        "package_entry": "yes" if step.package_entry.holds else "off",
        "grant": "yes" if step.grant.open else "off",
        "decision": "yes" if step.decision.access else "no",
    }
    return marks.get(kind, "info")
