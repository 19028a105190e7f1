"""Creating, changing, disabling, enabling and deleting a user."""

from typing import Final

from canuse.v1 import user_service_pb2 as pb
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.actions.metadata import metadata_field, read_metadata
from canuse_server.transport.http.console.actions.subscriptions import find_user
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.visit import Redirect, Visit

_PROFILE: Final = ("name", "email", "billing_id")


def _profile(user: pb.User) -> list[Field]:
    return [
        Field("name", "Name", "user.name", value=user.name),
        Field("email", "E-mail", "user.email", value=user.email),
        Field("billing_id", "Billing id", "user.billing_id", value=user.billing_id),
        metadata_field("user.metadata", user.metadata),
    ]


def _typed(form: Form, user_id: str) -> pb.User:
    metadata = read_metadata(form.field("metadata"))
    name, email, billing_id = map(form.text, _PROFILE)
    return pb.User(id=user_id, name=name, email=email, billing_id=billing_id, metadata=metadata)


async def _create_form(_visit: Visit) -> Form:
    user_id = Field(
        *("user", "Id", "user.id"),
        hint="The id that your service has for the user. It cannot change.",
        required=True,
        reasons=(ErrorReason.USER_EXISTS,),
    )
    return Form(
        title="Create a user",
        subject="",
        says=["The user has nothing before they are subscribed to a package or given a grant."],
        fields=[user_id, *_profile(pb.User())],
        button="Create",
        back=address("/users"),
    )


async def _create(visit: Visit, form: Form) -> Redirect:
    user = _typed(form, form.text("user"))
    try:
        await visit.call("UserService/CreateUser", pb.CreateUserRequest(user=user), pb.CreateUserResponse)
    except ApiError as error:
        # The form was sent twice if the user is what it says.
        if error.reason is not ErrorReason.USER_EXISTS:
            raise
        found = await visit.call("UserService/GetUser", pb.GetUserRequest(user_id=user.id), pb.GetUserResponse)
        found.user.ClearField("created_at")
        if found.user != user:
            raise
    return Redirect(address("/user", id=user.id, done="user-created"))


async def _edit_form(visit: Visit) -> Form:
    user = await find_user(visit)
    assert user is not None
    return Form(
        title="Change a user",
        subject=user.id,
        says=["What the user may use stays as it is."],
        fields=_profile(user),
        button="Save",
        back=address("/user", id=user.id),
        replaces={},
    )


async def _edit(visit: Visit, form: Form) -> Redirect | None:
    if form.is_outdated():
        return None
    request = pb.UpdateUserRequest(user=_typed(form, form.subject))
    request.update_mask.paths.extend((*_PROFILE, "metadata"))
    await visit.call("UserService/UpdateUser", request, pb.UpdateUserResponse)
    return Redirect(address("/user", id=form.subject, done="user-changed"))


async def _disable_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    await find_user(visit)
    return Form(
        title="Disable a user",
        subject=user_id,
        says=[
            "Every check of the user is a no, until the user is enabled again.",
            "Subscriptions, grants and counts stay, and periods go on.",
        ],
        button="Disable",
        back=address("/user", id=user_id),
        is_dangerous=True,
    )


async def _enable_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    await find_user(visit)
    return Form(
        title="Enable a user",
        subject=user_id,
        says=["The user may use again what their subscriptions and grants give."],
        button="Enable",
        back=address("/user", id=user_id),
    )


async def _set_disabled(visit: Visit, form: Form, *, disabled: bool) -> Redirect:
    request = pb.UpdateUserRequest(user=pb.User(id=form.subject, disabled=disabled))
    request.update_mask.paths.append("disabled")
    await visit.call("UserService/UpdateUser", request, pb.UpdateUserResponse)
    return Redirect(address("/user", id=form.subject, done="disabled" if disabled else "enabled"))


async def _disable(visit: Visit, form: Form) -> Redirect:
    return await _set_disabled(visit, form, disabled=True)


async def _enable(visit: Visit, form: Form) -> Redirect:
    return await _set_disabled(visit, form, disabled=False)


async def _delete_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    if visit.request.method != "POST":  # Sent twice, it is about a user who is already deleted.
        await find_user(visit)
    return Form(
        title="Delete a user",
        subject=user_id,
        says=[
            "All data about the user is deleted: profile, subscriptions, grants, counts, past periods and events.",
            "This cannot be undone. The id stays in the audit log for a set time.",
            "To only end the user's access, disable the user.",
        ],
        fields=[Field("confirm", f"Type the id of the user to confirm: {user_id}", required=True)],
        button="Delete for good",
        back=address("/user", id=user_id),
        is_dangerous=True,
    )


async def _delete(visit: Visit, form: Form) -> Redirect:
    form.confirm()
    try:
        await visit.call("UserService/DeleteUser", pb.DeleteUserRequest(user_id=form.subject), pb.DeleteUserResponse)
    except ApiError as error:
        if error.reason is not ErrorReason.USER_NOT_FOUND:
            raise
    # A key that deletes users may not be one that lists them.
    return Redirect(address("/users" if visit.may("UserService/ListUsers") else "", done="deleted"))


CREATE: Final = Action(("UserService/CreateUser",), _create_form, _create)
EDIT: Final = Action(("UserService/UpdateUser", "UserService/GetUser"), _edit_form, _edit)
DISABLE: Final = Action(("UserService/UpdateUser",), _disable_form, _disable)
ENABLE: Final = Action(("UserService/UpdateUser",), _enable_form, _enable)
DELETE: Final = Action(("UserService/DeleteUser",), _delete_form, _delete)
