"""Generating a token for a user, and revoking all of them."""

from typing import Final

from google.protobuf.duration_pb2 import Duration

from canuse.v1 import user_service_pb2 as pb
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.actions.subscriptions import find_user
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.visit import Redirect, View, Visit

_TTLS: Final = (("300", "5 minutes"), ("3600", "1 hour"), ("86400", "1 day"), ("2592000", "30 days"))


async def _generate_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    await find_user(visit)
    return Form(
        title="Generate a user token",
        subject=user_id,
        says=[
            "Whoever has the token can read what this user may use, and nothing else.",
            "It ends when it expires, or when the user's tokens are revoked.",
            "It is shown once, on the next page, and stored nowhere.",
        ],
        fields=[Field("ttl", "Valid for", kind="select", value="3600", options=_TTLS)],
        button="Generate",
        back=address("/user", id=user_id),
    )


async def _generate(visit: Visit, form: Form) -> View:
    request = pb.GenerateUserTokenRequest(user_id=form.subject, ttl=Duration(seconds=form.amount("ttl") or 0))
    answer = await visit.call("UserService/GenerateUserToken", request, pb.GenerateUserTokenResponse)
    values = {
        "title": "User token",
        "subject": form.subject,
        "secret": answer.token,
        "expires_at": answer.expires_at,
        "back": form.back,
    }
    return View("actions/secret.html", values)


async def _revoke_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    await find_user(visit)
    return Form(
        title="Revoke all tokens of a user",
        subject=user_id,
        says=["No server accepts a token that was generated for this user so far. Pages and apps need another one."],
        button="Revoke all tokens",
        back=address("/user", id=user_id),
        is_dangerous=True,
    )


async def _revoke(visit: Visit, form: Form) -> Redirect:
    request = pb.RevokeUserTokensRequest(user_id=form.subject)
    await visit.call("UserService/RevokeUserTokens", request, pb.RevokeUserTokensResponse)
    return Redirect(address("/user", id=form.subject, done="tokens-revoked"))


GENERATE: Final = Action(("UserService/GenerateUserToken",), _generate_form, _generate)
REVOKE: Final = Action(("UserService/RevokeUserTokens",), _revoke_form, _revoke)
