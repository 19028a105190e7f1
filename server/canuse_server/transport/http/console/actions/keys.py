"""Making an API key, whose secret is shown once, and revoking one."""

from typing import Final

from canuse.v1 import api_key_service_pb2 as pb
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.domain.api_keys import Scope
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.choices import enum_options
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.visit import Redirect, View, Visit

_TYPES: Final = enum_options(pb.ApiKeyType, "API_KEY_TYPE_")
_ENVIRONMENTS: Final = enum_options(pb.Environment, "ENVIRONMENT_")
CONFLICT: Final = 409
ALREADY_SENT: Final = (
    "This form was sent before: the key may be in the list of keys. Its secret was in the first answer only. "
    "If you have not seen it, revoke that key. To make another one, send the form again."
)


async def _create_form(visit: Visit) -> Form:
    assert visit.visitor.caller is not None
    caller = visit.visitor.caller
    own = f"ENVIRONMENT_{caller.env.environment.upper()}"
    # A key of the test environment makes keys of that environment only.
    environments = [each for each in _ENVIRONMENTS if own.endswith("LIVE") or each[0] == own]
    says = [
        "Whoever has the key may do what its scopes permit, until it expires or is revoked.",
        "Its secret is shown once, on the next page. It is not stored.",
    ]
    if caller.principal is None:
        says.append("This is the first key: from then on everybody needs one, also here. It must have keys:admin.")
    hint = "Who holds it. Several keys may have the same name."
    name = Field("name", "Name", "api_key.name", hint=hint, required=True)
    kind = Field(
        *("type", "Type", "api_key.type", "select", "API_KEY_TYPE_SECRET"),
        hint="Publishable: for web pages and apps, with the scope entitlements:read only.",
        options=_TYPES,
        reasons=(ErrorReason.PUBLISHABLE_KEYS_NOT_ALLOWED,),
    )
    scopes = [Field(f"scope:{scope}", f"Scope {scope}", "", "checkbox") for scope in Scope]
    scopes[0].path = "api_key.scopes"
    return Form(
        title="Make an API key",
        subject="",
        says=says,
        fields=[
            name,
            Field("environment", "Environment", "api_key.environment", "select", own, options=environments),
            kind,
            *scopes,
            Field("expires_at", "Expires (UTC)", "api_key.expires_at", "datetime-local", hint="Empty: never."),
        ],
        button="Make the key",
        back=address("/keys"),
    )


async def _create(visit: Visit, form: Form) -> View | None:
    key = pb.ApiKey(
        name=form.text("name"),
        environment=form.enum("environment", pb.Environment.Value, pb.ENVIRONMENT_UNSPECIFIED),
        type=form.enum("type", pb.ApiKeyType.Value, pb.API_KEY_TYPE_UNSPECIFIED),
        scopes=[scope for scope in Scope if form.is_checked(f"scope:{scope}")],
        expires_at=form.time("expires_at"),
    )
    # A method that makes another key each time: whether the form was sent before is known here only.
    if not await visit.site.sessions.claim(visit.visitor, form.request):
        form.problem, form.status = ALREADY_SENT, CONFLICT
        form.renew()
        return None
    try:
        request = pb.CreateApiKeyRequest(api_key=key)
        answer = await visit.call("ApiKeyService/CreateApiKey", request, pb.CreateApiKeyResponse)
    except ApiError as error:
        if error.reason is not ErrorReason.OUTCOME_UNKNOWN:
            form.renew()  # Nothing was made.
        raise
    values = {
        "title": "API key",
        "subject": f"{answer.api_key.name} ({answer.api_key.id})",
        "secret": answer.secret,
        "expires_at": answer.api_key.expires_at if answer.api_key.HasField("expires_at") else None,
        "back": form.back,
    }
    return View("actions/secret.html", values)


async def _revoke_form(visit: Visit) -> Form:
    key_id = visit.query("id")
    key = await _find(visit, key_id)
    name = f" {key.name}" if key else ""
    says = [f"Within a second no server accepts the key{name}. This cannot be undone."]
    if key and key.id == (visit.visitor.credentials or b"").decode():
        says.append("It is the key with which you have logged in: you will be logged out.")
    return Form(
        title="Revoke an API key",
        subject=key_id,
        says=says,
        button="Revoke the key",
        back=address("/keys"),
        is_dangerous=True,
    )


async def _find(visit: Visit, key_id: str) -> pb.ApiKey | None:
    """Return a key; None where the form is sent about one that is already revoked. Raises ApiError."""
    request = pb.ListApiKeysRequest(page_size=1000)
    while True:
        answer = await visit.call(
            "ApiKeyService/ListApiKeys", request, pb.ListApiKeysResponse, shown=not request.page_token
        )
        for key in answer.api_keys:
            if key.id == key_id:
                return key
        if not answer.next_page_token:
            if visit.request.method == "POST":
                return None
            raise ApiError(ErrorReason.API_KEY_NOT_FOUND, "there is no such API key", {"api_key_id": key_id})
        request.page_token = answer.next_page_token


async def _revoke(visit: Visit, form: Form) -> Redirect:
    request = pb.RevokeApiKeyRequest(api_key_id=form.subject)
    try:
        await visit.call("ApiKeyService/RevokeApiKey", request, pb.RevokeApiKeyResponse)
    except ApiError as error:
        if error.reason is not ErrorReason.API_KEY_NOT_FOUND:
            raise
    return Redirect(address("/keys", done="key-revoked"))


CREATE: Final = Action(("ApiKeyService/CreateApiKey",), _create_form, _create)
REVOKE: Final = Action(("ApiKeyService/RevokeApiKey", "ApiKeyService/ListApiKeys"), _revoke_form, _revoke)
