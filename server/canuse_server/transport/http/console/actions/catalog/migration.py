"""Moving the subscriptions of a package to another version, in steps.

The address of the page says how far it is, so that it goes on after a reload, and in another browser or server. Its
script sends the next step by itself only where the address is from a page of the same session: a link that somebody
else has made moves nothing before its visitor wants it.
"""

import hmac
import time
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Final
from urllib.parse import urlencode

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.forms import read_amount
from canuse_server.transport.http.console.visit import Redirect, Visit

_METHOD: Final = "CatalogService/MigrateSubscriptions"
STEP_SECONDS: Final = 1.0
"""How long a step takes at least, unless everything is moved before."""
COUNT_SECONDS: Final = 3.0
"""When no further users are counted before the first step."""
MAX_IDS: Final = 100
"""How many of the users are named who get less."""


@dataclass(frozen=True)
class Progress:
    """How far a migration is."""

    id: str
    """The package."""
    from_version: int = 0
    to_version: int = 0
    total: int = 0
    """The number of users; 0: not known."""
    users: int = 0
    """Users so far."""
    migrated: int = 0
    """Subscriptions moved so far."""
    shrinking: int = 0
    """Users so far who get less than before."""
    resume: str = ""
    finished: int = 0

    @property
    def text(self) -> str:
        """All of it, to be signed."""
        return urlencode(asdict(self))


@dataclass
class Count:
    """What a migration would do, counted before."""

    progress: Progress
    ids: list[str]
    """Some of the users who would get less."""


def _number(visit: Visit, name: str) -> int:
    return read_amount(name, visit.query(name)) if visit.query(name) else 0


def _request(progress: Progress, *, dry_run: bool = False) -> pb.MigrateSubscriptionsRequest:
    return pb.MigrateSubscriptionsRequest(
        package_id=progress.id,
        from_version=progress.from_version,
        to_version=progress.to_version,
        resume_token=progress.resume,
        dry_run=dry_run,
    )


def _after(progress: Progress, message: pb.MigrateSubscriptionsResponse) -> Progress:
    return replace(
        progress,
        users=message.users,
        migrated=message.migrated,
        shrinking=message.shrinking_users,
        resume=message.resume_token,
        finished=int(message.done),
    )


async def _count(visit: Visit, progress: Progress) -> Count:
    """Count what would be done, without doing it. Raises ApiError."""
    count, began = Count(progress, []), time.monotonic()
    request = _request(progress, dry_run=True)
    async with aclosing(visit.call.stream(_METHOD, request, pb.MigrateSubscriptionsResponse)) as messages:
        async for message in messages:
            count.progress = _after(progress, message)
            count.ids += message.shrinking_user_ids[: MAX_IDS - len(count.ids)]
            if time.monotonic() - began > COUNT_SECONDS:
                break
    return count


async def _begin_form(visit: Visit) -> Form:
    request = pb.GetPackageRequest(package_id=visit.query("id"))
    package = (await visit.call("CatalogService/GetPackage", request, pb.GetPackageResponse)).package
    # The version that the form says, also if a newer one has been published since it was shown.
    shown = read_amount("to", visit.form["to"]) if visit.form.get("to") else package.published_version
    chosen = _number(visit, "to") or shown
    progress = Progress(package.id, _number(visit, "from"), chosen)
    count = Count(progress, []) if visit.request.method == "POST" else await _count(visit, progress)
    total = count.progress.users if count.progress.finished else 0
    return Form(
        title="Move subscriptions",
        subject=package.id,
        says=[
            f"Subscriptions to this package get version {progress.to_version}, user by user, while checks go on.",
            "What was used in the current period is kept. Subscriptions that have ended keep their version.",
            "It goes on while the page that follows is open, and can be resumed from its address.",
        ],
        fields=[
            Field("total", "", kind="hidden", value=str(total)),
            Field("to", "", kind="hidden", value=str(progress.to_version)),
        ],
        button=f"Move to version {progress.to_version}",
        back=address("/package", id=package.id),
        template="actions/migrate.html",
        values={
            "count": count,
            "from_version": progress.from_version,
            "to_version": progress.to_version,
            "versions": list(range(package.published_version, 0, -1))[:50],
        },
    )


async def _begin(visit: Visit, form: Form) -> Redirect:
    count = form.values["count"]
    assert isinstance(count, Count)
    return await _step(visit, replace(count.progress, total=form.amount("total") or 0))


async def _step(visit: Visit, progress: Progress) -> Redirect:
    """Move subscriptions for a while; return the address that says how far it is. Raises ApiError."""
    began = time.monotonic()
    request = _request(progress)
    async with aclosing(visit.call.stream(_METHOD, request, pb.MigrateSubscriptionsResponse)) as messages:
        async for message in messages:
            progress = _after(progress, message)
            # Right after a message: what is moved after it is in no count.
            if time.monotonic() - began >= STEP_SECONDS:
                break
    return Redirect(address("/package/migration", **asdict(progress), proof=visit.visitor.sign(progress.text)))


def _read(visit: Visit) -> Progress:
    names = ("from_version", "to_version", "total", "users", "migrated", "shrinking")
    numbers = {name: _number(visit, name) for name in names}
    # An address leaves out what is empty or none.
    return Progress(
        visit.query("id"), **numbers, resume=visit.query("resume"), finished=int(visit.query("finished") == "1")
    )


async def _go_on_form(visit: Visit) -> Form:
    progress = _read(visit)
    proof = visit.visitor.sign(progress.text)
    is_own = hmac.compare_digest(proof.encode(), visit.query("proof").encode())
    return Form(
        title="Move subscriptions",
        subject=progress.id,
        says=[f"The subscriptions of the users who follow get version {progress.to_version}."],
        button="Go on",
        back=address("/package", id=progress.id),
        leave="Stop here",
        template="actions/migration.html",
        values={"progress": progress, "is_own": is_own},
    )


async def _go_on(visit: Visit, form: Form) -> Redirect:
    progress = form.values["progress"]
    assert isinstance(progress, Progress)
    return await _step(visit, progress)


BEGIN: Final = Action((_METHOD, "CatalogService/GetPackage"), _begin_form, _begin)
GO_ON: Final = Action((_METHOD,), _go_on_form, _go_on)
