"""Giving a grant, and revoking one."""

from typing import Final

from canuse.v1 import subscription_service_pb2 as pb
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.choices import choice, features
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.actions.subscriptions import find_user
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.visit import Redirect, Visit

_FEATURE_ERRORS: Final = (ErrorReason.FEATURE_NOT_FOUND, ErrorReason.FEATURE_ARCHIVED, ErrorReason.TOO_MANY_GRANTS)


async def _grant_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    await find_user(visit)
    feature = Field(
        *("feature", "Feature", "grant.feature_id"),
        value=visit.query("feature"),
        required=True,
        reasons=_FEATURE_ERRORS,
    )
    grant_id = Field(
        *("grant", "Id", "grant.id"),
        hint="Chosen by you, unique among the grants of the user.",
        required=True,
        reasons=(ErrorReason.GRANT_EXISTS,),
    )
    form = Form(
        title="Give a grant",
        subject=user_id,
        says=[
            "The user gets an amount of a feature in addition to packages, once.",
            "It is used after the budget of the package, and does not reset.",
        ],
        fields=[
            choice(feature, await features(visit)),
            Field(
                *("amount", "Amount", "grant.amount", "number"),
                hint="Empty: unlimited. Of a binary feature: must be empty; the grant turns it on.",
            ),
            Field("from", "From (UTC)", "grant.effective_at", "datetime-local", hint="Empty: from now on."),
            Field("until", "Until (UTC)", "grant.expires_at", "datetime-local", hint="Empty: no end."),
            Field("priority", "Priority", "grant.priority", "number", hint="Lower numbers are used first. Empty: 0."),
            grant_id,
            Field("note", "Note", "grant.note", hint="For people."),
        ],
        button="Give the grant",
        back=address("/user", id=user_id),
    )
    grant_id.value = f"grant-{form.request}"
    return form


async def _grant(visit: Visit, form: Form) -> Redirect:
    grant = pb.Grant(
        id=form.text("grant"),
        user_id=form.subject,
        feature_id=form.text("feature"),
        amount=form.amount("amount"),
        effective_at=form.time("from"),
        expires_at=form.time("until"),
        priority=form.amount("priority") or 0,
        note=form.text("note"),
    )
    await visit.call("SubscriptionService/CreateGrant", pb.CreateGrantRequest(grant=grant), pb.CreateGrantResponse)
    return Redirect(address("/user", id=form.subject, done="granted"))


async def _revoke_form(visit: Visit) -> Form:
    user_id, grant_id = visit.query("id"), visit.query("grant")
    grant = await _find(visit, user_id, grant_id)
    amount = f"{grant.amount:,}" if grant.HasField("amount") else "an unlimited amount"
    return Form(
        title="Revoke a grant",
        subject=grant_id,
        says=[
            f"The grant gives user {user_id} {amount} of {grant.feature_id}. From now on it gives nothing.",
            "What was used of it stays used. This cannot be undone; another grant can be given.",
        ],
        button="Revoke",
        back=address("/user", id=user_id),
        is_dangerous=True,
    )


async def _find(visit: Visit, user_id: str, grant_id: str) -> pb.Grant:
    request = pb.ListGrantsRequest(user_id=user_id, page_size=1000)
    while True:
        answer = await visit.call(
            "SubscriptionService/ListGrants", request, pb.ListGrantsResponse, shown=not request.page_token
        )
        for grant in answer.grants:
            if grant.id == grant_id:
                return grant
        if not answer.next_page_token:
            text = f"user {user_id!r} has no grant {grant_id!r}"
            raise ApiError(ErrorReason.GRANT_NOT_FOUND, text, {"user_id": user_id, "grant_id": grant_id})
        request.page_token = answer.next_page_token


async def _revoke(visit: Visit, form: Form) -> Redirect:
    user_id = visit.query("id")
    request = pb.RevokeGrantRequest(user_id=user_id, grant_id=form.subject)
    await visit.call("SubscriptionService/RevokeGrant", request, pb.RevokeGrantResponse)
    return Redirect(address("/user", id=user_id, done="grant-revoked"))


GRANT: Final = Action(("SubscriptionService/CreateGrant",), _grant_form, _grant)
REVOKE: Final = Action(("SubscriptionService/RevokeGrant", "SubscriptionService/ListGrants"), _revoke_form, _revoke)
