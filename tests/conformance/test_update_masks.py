"""Update masks: each method documents which fields it takes, and takes exactly those."""

import re
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from canuse import v1
from chaos.methods import METHODS, Method
from support.message_clients import Client
from support.resources import consumable, package, subscriber, unique
from support.tools import ROOT
from support.wire import Stubs, failure


def _updates() -> Iterator[tuple[str, Method, FieldDescriptor]]:
    for name, method in METHODS.items():
        fields = method.descriptor.input_type.fields_by_name
        if "update_mask" in fields:
            [resource] = [field for field in fields.values() if field.message_type and field.name != "update_mask"]
            yield name, method, resource


UPDATES = {name: (method, resource) for name, method, resource in _updates()}
every_update = pytest.mark.parametrize("name", UPDATES)
every_update_of_something = pytest.mark.parametrize("name", sorted(UPDATES.keys() - {"EnsureUser"}))
"""EnsureUser is also for users that exist and need no change."""


def request(client: Client, name: str, paths: list[str]) -> Message:
    """Return an update of an existing object that sets only its id."""
    method, resource = UPDATES[name]
    update = GetMessageClass(method.descriptor.input_type)()
    update.update_mask.CopyFrom(FieldMask(paths=paths))  # type: ignore[attr-defined]
    getattr(update, resource.name).id = {
        "UpdateFeature": lambda: consumable(client),
        "UpdatePackage": lambda: package(client, []),
        "UpdateUser": lambda: client.create_user(unique("user")).id,
        "EnsureUser": lambda: client.create_user(unique("user")).id,
        "UpdateSubscription": lambda: next(client.list_subscriptions(subscriber(client, 5)[0])).id,
    }[name]()
    return update


def violation(client: Client, stubs: Stubs, name: str, paths: list[str]) -> str:
    """Return what is wrong with a mask."""
    method, update = UPDATES[name][0], request(client, name, paths)
    refused = failure(stubs.call_raw, method.path, update.SerializeToString())
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["update_mask"])
    return refused.violations["update_mask"]


def in_comment(name: str) -> list[str]:
    """Return the fields that the comment of a method's mask names."""
    kind = UPDATES[name][0].descriptor.input_type
    source = (ROOT / "protos" / str(kind.file.name)).read_text()
    message = re.search(rf"^message {kind.name} \{{\n(.*?)^\}}", source, re.DOTALL | re.MULTILINE)
    assert message
    comment = re.search(r"((?:^  //.*\n)+)  google\.protobuf\.FieldMask update_mask", message[1], re.MULTILINE)
    assert comment
    text = " ".join(line.strip().removeprefix("// ") for line in comment[1].splitlines())
    named = re.match(r"Which fields to change: ([\w, ]+)\. Empty: ", text)
    assert named, text
    return named[1].split(", ")


@every_update
def test_the_comment_of_a_mask_names_the_fields_that_it_takes(client: Client, stubs: Stubs, name: str) -> None:
    """The comment of UpdateFeature left out on_unavailable."""
    accepted = ", ".join(in_comment(name))
    assert violation(client, stubs, name, ["nothing"]) == f"only {accepted} can be changed; 'nothing' was sent"


@every_update_of_something
def test_an_empty_update_is_refused_with_the_fields_that_can_be_set(client: Client, stubs: Stubs, name: str) -> None:
    """`UpdateUser` with `disabled: false` and no mask answered OK, and the user stayed disabled."""
    accepted = ", ".join(in_comment(name))
    assert f"{accepted}, or * for all; nothing was sent" in violation(client, stubs, name, [])


@every_update
@pytest.mark.parametrize("path", ["id", "created_at", "", "*", "name.first", "metadata.a", "user.name"])
def test_a_mask_takes_no_part_of_a_field_no_other_field_and_a_star_only_alone(
    client: Client, stubs: Stubs, name: str, path: str
) -> None:
    good = in_comment(name)[0]
    assert f"; {path!r} was sent" in violation(client, stubs, name, [good, path])


def test_a_path_that_is_there_twice_counts_once(client: Client, stubs: Stubs) -> None:
    user = client.create_user(unique("user"), name="Ada")
    update = v1.UpdateUserRequest(user=v1.User(id=user.id, name="Eve"), update_mask=FieldMask(paths=["name", "name"]))
    assert stubs.users.UpdateUser(update).user.name == "Eve"


def test_a_resource_can_be_sent_back_as_it_was_got(client: Client, stubs: Stubs) -> None:
    user = client.create_user(unique("user"), name="Ada")
    assert stubs.users.UpdateUser(v1.UpdateUserRequest(user=user)).user == user
    [held] = client.list_subscriptions(subscriber(client, 5)[0])
    update = v1.UpdateSubscriptionRequest(subscription=held)
    assert stubs.subscriptions.UpdateSubscription(update).subscription == held


def test_false_is_set_by_naming_it(client: Client, stubs: Stubs) -> None:
    user = client.create_user(unique("user"))
    client.update_user(user.id, disabled=True)
    update = v1.UpdateUserRequest(user=v1.User(id=user.id), update_mask=FieldMask(paths=["disabled"]))
    assert not stubs.users.UpdateUser(update).user.disabled
