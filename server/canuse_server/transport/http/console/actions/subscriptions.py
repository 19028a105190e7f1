"""Subscribing a user, changing the base package, and cancelling."""

from typing import Final

from canuse.v1 import subscription_service_pb2 as pb
from canuse.v1 import user_service_pb2 as user
from canuse_server.api.errors import ErrorReason
from canuse_server.transport.http.console import shown
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.choices import choice, published_packages
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.visit import Redirect, Visit
from canuse_server.transport.http.console.words import status_words

_PACKAGE_ERRORS: Final = (
    ErrorReason.PACKAGE_NOT_FOUND,
    ErrorReason.PACKAGE_NOT_PUBLISHED,
    ErrorReason.PACKAGE_NOT_BASE,
    ErrorReason.SECOND_BASE_PACKAGE,
)
_WHEN_ERRORS: Final = (ErrorReason.NO_PERIOD_END,)
_WHEN: Final = (("now", "Now"), ("end", "At the end of the period or trial"))


async def find_user(visit: Visit) -> user.User | None:
    """Return the user that a form is about; None where the visitor may not see users. Raises ApiError."""
    request = user.GetUserRequest(user_id=visit.query("id"))
    answer = await visit.call_if_may("UserService/GetUser", request, user.GetUserResponse)
    return answer.user if answer else None


async def _subscribe_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    await find_user(visit)
    package = Field("package", "Package", "package_ids", required=True, reasons=_PACKAGE_ERRORS)
    return Form(
        title="Subscribe to a package",
        subject=user_id,
        says=[
            "The user gets what the published version of the package gives, from now on.",
            "A user has at most one base package: to replace it, change the package instead.",
        ],
        fields=[
            choice(package, await published_packages(visit)),
            Field("trial_end", "Trial until (UTC)", kind="datetime-local", hint="Empty: no trial."),
        ],
        button="Subscribe",
        back=address("/user", id=user_id),
    )


async def _subscribe(visit: Visit, form: Form) -> Redirect:
    request = pb.SubscribeRequest(
        user_id=form.subject,
        package_ids=[form.text("package")],
        trial_end=form.time("trial_end"),
        event_id=form.event_id,
    )
    await visit.call("SubscriptionService/Subscribe", request, pb.SubscribeResponse)
    return Redirect(address("/user", id=form.subject, done="subscribed"))


async def _change_form(visit: Visit) -> Form:
    user_id = visit.query("id")
    await find_user(visit)
    package = Field("package", "New base package", "package_id", required=True, reasons=_PACKAGE_ERRORS)
    return Form(
        title="Change the package",
        subject=user_id,
        says=[
            "The base package is replaced by another one in one step. Add-ons, grants and what was used stay.",
            "A change that is already planned is replaced by this one.",
        ],
        fields=[
            choice(package, await published_packages(visit)),
            Field("when", "When", "timing", "select", "now", options=_WHEN, reasons=_WHEN_ERRORS),
        ],
        button="Change",
        back=address("/user", id=user_id),
    )


async def _change(visit: Visit, form: Form) -> Redirect:
    at_end = form.text("when") == "end"
    request = pb.ChangePackageRequest(
        user_id=form.subject,
        package_id=form.text("package"),
        timing=pb.CHANGE_TIMING_PERIOD_END if at_end else pb.CHANGE_TIMING_NOW,
        event_id=form.event_id,
    )
    await visit.call("SubscriptionService/ChangePackage", request, pb.ChangePackageResponse)
    return Redirect(address("/user", id=form.subject, done="changed-package"))


async def _cancel_form(visit: Visit) -> Form:
    request = pb.GetSubscriptionRequest(subscription_id=visit.query("subscription"))
    answer = await visit.call("SubscriptionService/GetSubscription", request, pb.GetSubscriptionResponse)
    found = answer.subscription
    says = [
        f"The subscription of {found.user_id} to package {found.package_id}, version {found.package_version}, ends.",
        f"It began {shown.date_time(found.started_at)} UTC, and is {status_words(found.status).lower()} now.",
        "From then on the user has what their other subscriptions and grants give. What was used stays recorded.",
    ]
    if found.HasField("cancel_at"):
        says.append(f"It already ends {shown.date_time(found.cancel_at)} UTC; an end that is set only becomes earlier.")
    return Form(
        title="Cancel a subscription",
        subject=found.id,
        says=says,
        fields=[Field("when", "When", "at_period_end", "select", "now", options=_WHEN, reasons=_WHEN_ERRORS)],
        button="Cancel the subscription",
        back=address("/user", id=found.user_id),
        is_dangerous=True,
    )


async def _cancel(visit: Visit, form: Form) -> Redirect:
    request = pb.CancelSubscriptionRequest(subscription_id=form.subject, at_period_end=form.text("when") == "end")
    answer = await visit.call("SubscriptionService/CancelSubscription", request, pb.CancelSubscriptionResponse)
    return Redirect(address("/user", id=answer.subscription.user_id, done="cancelled"))


SUBSCRIBE: Final = Action(("SubscriptionService/Subscribe",), _subscribe_form, _subscribe)
CHANGE_PACKAGE: Final = Action(("SubscriptionService/ChangePackage",), _change_form, _change)
CANCEL: Final = Action(
    ("SubscriptionService/CancelSubscription", "SubscriptionService/GetSubscription"), _cancel_form, _cancel
)
