"""Every query and mutation of Kana's Admin API, as Kana's documentation writes them."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from canuse import v1
from support.kana import Kana
from support.load import until, used
from support.message_clients import Client
from support.resources import Clock, binary, consumable, package, subscriber, unique

NOW = datetime(2032, 1, 31, 12, 0, tzinfo=UTC)
FEATURE = "id name type unitLabel unitLabelPlural metadata"
PACKAGE = (
    "id name status metadata features { id name limit type unitLabel unitLabelPlural metadata } "
    "prices { id provider amount displayAmount currency interval } isAddon updatedAt"
)
USER = "id billingId name email metadata"
CAN_USE = (
    "query q($userId: String!, $featureId: String!, $delta: Int) "
    "{ canUseFeature(userId: $userId, featureId: $featureId, delta: $delta) "
    "{ access reason consumption { budget used overageEnabled } } }"
)
RECORD = "mutation m($input: CreateUsageEventInput!) { recordUsage(input: $input) { recorded reason } }"
SUBSCRIBE = (
    "mutation m($packageIds: [String!]!, $userId: String!) { subscribe(packageIds: $packageIds, userId: $userId) "
    "{ id userId status package { id name } } }"
)


def entry(feature_id: str, limit: int | None = None) -> v1.PackageFeature:
    """Return the entry of a feature in a package."""
    return v1.PackageFeature(feature_id=feature_id, limit=limit)


def add_on(client: Client) -> str:
    """Create and publish an add-on and return its id."""
    return package(client, [entry(binary(client))], v1.PACKAGE_TYPE_ADD_ON)


def base(client: Client) -> str:
    """Create and publish a base package and return its id."""
    return package(client, [entry(binary(client))])


def test_features_are_created_changed_and_listed(kana: Kana) -> None:
    feature_id = unique("feature")
    created = {
        "id": feature_id,
        "name": "F",
        "type": "CONSUMABLE",
        "unitLabel": "call",
        "unitLabelPlural": "calls",
        "metadata": {},
    }
    query = f"mutation m($input: CreateFeatureInput!) {{ createFeature(input: $input) {{ {FEATURE} }} }}"
    assert kana.ask(query, {"input": created}) == {"createFeature": created}
    query = (
        "mutation m($id: String!, $input: UpdateFeatureInput!) "
        f"{{ updateFeature(id: $id, input: $input) {{ {FEATURE} }} }}"
    )
    changed = {**created, "name": "G", "unitLabel": None, "metadata": {"a": "b"}}
    sent = {name: changed[name] for name in ("name", "unitLabel", "metadata")}
    assert kana.ask(query, {"id": feature_id, "input": sent}) == {"updateFeature": changed}
    assert kana.ask(f"query q($id: String!) {{ feature(id: $id) {{ {FEATURE} }} }}", {"id": feature_id}) == {
        "feature": changed
    }
    assert changed in kana.ask(f"{{ features {{ {FEATURE} }} }}")["features"]
    assert kana.error(query, {"id": "nope", "input": sent})["extensions"]["exception"]["name"] == "FeatureNotFoundError"


def test_the_older_form_of_create_feature_makes_a_binary_feature(kana: Kana) -> None:
    feature_id = unique("feature")
    query = f'mutation {{ createFeature(featureIdentifier: "{feature_id}", name: "F") {{ identifier name type }} }}'
    expected = {"identifier": feature_id, "name": "F", "type": "BINARY"}
    assert kana.ask(query) == {"createFeature": expected}
    assert "input is missing" in kana.message('mutation { createFeature(name: "F") { id } }')


@pytest.mark.parametrize("mutation", ["updateFeature", "updatePackage"])
def test_an_update_without_an_id_in_its_text_takes_that_of_the_variables(
    kana: Kana, client: Client, mutation: str
) -> None:
    item_id = consumable(client) if mutation == "updateFeature" else base(client)
    kind = f"U{mutation[1:]}Input"
    query = f"mutation m($input: {kind}!) {{ {mutation}(input: $input) {{ id metadata }} }}"
    sent = {"input": {"metadata": {"a": "b"}}}
    assert kana.ask(query, {"id": item_id, **sent}) == {mutation: {"id": item_id, "metadata": {"a": "b"}}}
    error = kana.error(query, sent)
    assert error["message"] == f"{mutation}: the argument id is missing, and there is no variable id that is a string"
    assert (error["path"], error["extensions"]["code"]) == ([mutation], "BAD_USER_INPUT")


def test_packages_are_created_and_listed_by_status(kana: Kana, client: Client) -> None:
    feature_id, switch_id, package_id = consumable(client), binary(client), unique("package")
    query = f"mutation m($input: CreatePackageInput!) {{ createPackage(input: $input) {{ {PACKAGE} }} }}"
    entitlement = {"limit": 20, "resetPeriod": "MONTH", "overageEnabled": True}
    entries = [{"id": feature_id, "entitlement": entitlement}, {"id": switch_id}]
    sent = {"id": package_id, "name": "P", "isAddon": False, "metadata": {}, "features": entries}
    created = kana.ask(query, {"input": sent})["createPackage"]
    rest: dict[str, object] = {"unitLabel": None, "unitLabelPlural": None, "metadata": {}}
    assert created.pop("updatedAt").endswith("Z")
    assert created == {
        "id": package_id,
        "name": "P",
        "status": "DRAFT",
        "metadata": {},
        "features": [
            {"id": feature_id, "name": feature_id, "limit": 20, "type": "CONSUMABLE", **rest},
            {"id": switch_id, "name": switch_id, "limit": None, "type": "BINARY", **rest},
        ],
        "prices": [],
        "isAddon": False,
    }
    [stored] = client.get_package(package_id).features[:1]
    assert (stored.limit, stored.reset_period, stored.overage_enabled) == (20, v1.RESET_PERIOD_MONTH, True)
    query = "query q($status: String!) { packages(status: $status) { id } }"

    def listed(status: str) -> bool:
        return {"id": package_id} in kana.ask(query, {"status": status})["packages"]

    assert [listed(status) for status in ("DRAFT", "PUBLISHED", "ARCHIVED", "ALL")] == [True, False, False, True]
    client.publish_package(package_id)
    assert [listed(status) for status in ("DRAFT", "PUBLISHED", "ARCHIVED", "ALL")] == [False, True, False, True]
    assert {"id": package_id} in kana.ask("{ packages { id } }")["packages"]
    assert {"id": package_id} in kana.ask("{ plans { id } }")["plans"]
    query = "query q($id: String!) { package(id: $id, includeFeatures: true) { id status } }"
    assert kana.ask(query, {"id": package_id}) == {"package": {"id": package_id, "status": "PUBLISHED"}}
    listed_by_feature = kana.ask("{ features { id packages { id status } } }")["features"]
    assert {"id": feature_id, "packages": [{"id": package_id, "status": "PUBLISHED"}]} in listed_by_feature
    assert "'NOPE' was sent" in kana.message('{ packages(status: "NOPE") { id } }')


def test_one_feature_need_not_be_in_a_list(kana: Kana, client: Client) -> None:
    feature_id, package_id = consumable(client), unique("package")
    sent = {"id": package_id, "features": {"id": feature_id, "entitlement": {"resetPeriod": "DAY"}}}
    query = "mutation m($input: CreatePackageInput!) { createPackage(input: $input) { id name features { id limit } } }"
    created = {"id": package_id, "name": package_id, "features": [{"id": feature_id, "limit": None}]}
    assert kana.ask(query, {"input": sent}) == {"createPackage": created}


def test_new_metadata_of_a_published_package_leaves_its_draft_and_its_content(kana: Kana, client: Client) -> None:
    feature_id = consumable(client)
    package_id = package(client, [entry(feature_id, 5)])
    client.update_package(package_id, features=[entry(feature_id, 7)])
    query = (
        "mutation m($id: String!, $input: UpdatePackageInput!) "
        "{ updatePackage(id: $id, input: $input) { metadata features { limit } } }"
    )
    sent = {"id": package_id, "input": {"metadata": {"a": "b"}}}
    assert kana.ask(query, sent) == {"updatePackage": {"metadata": {"a": "b"}, "features": [{"limit": 5}]}}
    draft = client.get_package(package_id)
    assert draft.status == v1.PACKAGE_STATUS_DRAFT
    assert (draft.features[0].limit, dict(draft.metadata)) == (7, {"a": "b"})
    query = "query q($id: String!) { package(id: $id) { status features { limit } } }"
    shown = {"status": "PUBLISHED", "features": [{"limit": 5}]}
    assert kana.ask(query, {"id": package_id}) == {"package": shown}


def test_new_metadata_of_a_package_loses_no_change_that_is_made_meanwhile(kana: Kana, client: Client) -> None:
    package_id = package(client, [entry(binary(client))])
    client.update_package(package_id, name="first")
    query = "mutation m($id: String!, $input: UpdatePackageInput!) { updatePackage(id: $id, input: $input) { id } }"
    done, changes = threading.Event(), itertools.count()
    made = [0]

    def change_metadata() -> None:
        while not done.is_set():
            sent = {"id": package_id, "input": {"metadata": {"n": str(next(changes))}}}
            made[0] += "errors" not in kana.post(query, sent).json()

    def at_least(number: int) -> bool:
        return made[0] >= number

    with ThreadPoolExecutor() as threads:
        changing = threads.submit(change_metadata)
        try:
            for index in range(40):
                client.update_package(package_id, name=f"name {index}")
                # The change that was under way, and one after it.
                wanted = made[0] + 2
                until(partial(at_least, wanted))
                assert client.get_package(package_id).name == f"name {index}"
        finally:
            done.set()
        changing.result()


@pytest.mark.parametrize("metadata", [{"a": "b"}, {"seats": 5, "deep": [{"x": None}]}, [1, "2"], "text", 7, True])
def test_metadata_of_any_form_comes_back_as_it_was_sent(kana: Kana, metadata: object) -> None:
    user_id = unique("user")
    query = f"mutation m($input: CreateUserInput!) {{ createUser(input: $input) {{ {USER} }} }}"
    user = {"id": user_id, "billingId": "cus_x", "name": "N", "email": "e@x", "metadata": metadata}
    assert kana.ask(query, {"input": user}) == {"createUser": user}
    query = f"query q($id: String!) {{ user(id: $id) {{ {USER} }} users(id: $id) {{ {USER} }} }}"
    assert kana.ask(query, {"id": user_id}) == {"user": user, "users": [user]}


def test_users_are_changed_and_listed_but_keep_their_ids(kana: Kana) -> None:
    user_id = unique("user")
    query = f"mutation m($input: CreateUserInput!) {{ createUser(input: $input) {{ {USER} }} }}"
    created: dict[str, object] = {"id": user_id, "billingId": None, "name": None, "email": None, "metadata": {}}
    assert kana.ask(query, {"input": {"id": user_id}}) == {"createUser": created}
    query = f"mutation m($id: String!, $input: UpdateUserInput!) {{ updateUser(id: $id, input: $input) {{ {USER} }} }}"
    changed = {**created, "name": "M", "metadata": {"a": "b"}}
    sent = {"id": user_id, "name": "M", "metadata": {"a": "b"}}
    assert kana.ask(query, {"id": user_id, "input": sent}) == {"updateUser": changed}
    assert kana.ask(query, {"id": user_id, "input": {"id": user_id}}) == {"updateUser": changed}
    assert changed in kana.ask(f"{{ users {{ {USER} }} }}")["users"]
    assert "cannot be changed" in kana.message(query, {"id": user_id, "input": {**sent, "id": "other"}})


def test_checks_use_their_delta_and_record_nothing(kana: Kana, client: Client) -> None:
    user_id, feature_id = subscriber(client, 20)
    client.create_usage_event(user_id, feature_id, 6)
    ids = {"userId": user_id, "featureId": feature_id}
    consumption = {"budget": 20, "used": 6, "overageEnabled": False}
    for variables, access in (({}, True), ({"delta": 14}, True), ({"delta": 15}, False)):
        answer = kana.ask(CAN_USE, {**ids, **variables})["canUseFeature"]
        assert (answer["access"], answer["consumption"]) == (access, consumption)
        assert answer["reason"].endswith(".")
    query = CAN_USE.replace("access", "data { data { access } }")
    assert kana.ask(query, ids)["canUseFeature"]["data"] == {"data": {"access": True}}
    query = (
        "query getFeatureEntitlement($id: String!, $userId: String!) { feature(id: $id) "
        "{ type entitlement(userId: $userId) { access consumption { budget used } } } }"
    )
    entitlement = {"access": True, "consumption": {"budget": 20, "used": 6}}
    feature = {"type": "CONSUMABLE", "entitlement": entitlement}
    assert kana.ask(query, {"id": feature_id, "userId": user_id}) == {"feature": feature}
    assert used(client, user_id, feature_id) == 6
    assert kana.ask(CAN_USE, {**ids, "featureId": binary(client)})["canUseFeature"]["consumption"] is None
    names = {
        "UserNotFoundError": {**ids, "userId": "nobody"},
        "FeatureNotFoundError": {**ids, "featureId": "nothing"},
    }
    for name, unknown in names.items():
        error = kana.error(CAN_USE, unknown)
        assert (error["extensions"]["exception"]["name"], error["path"]) == (name, ["canUseFeature"])


def test_usage_is_added_taken_back_and_set(kana: Kana, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids = {"userId": user_id, "featureId": feature_id}
    for sent, total in (
        ({"delta": -3}, 0),
        ({}, 1),
        ({"delta": 6}, 7),
        ({"delta": -2, "action": "ADD"}, 5),
        ({"delta": 3, "action": "SET"}, 3),
    ):
        recorded = {"recorded": True, "reason": None}
        assert kana.ask(RECORD, {"input": {**ids, **sent}}) == {"recordUsage": recorded}
        assert used(client, user_id, feature_id) == total
    query = "mutation m($input: CreateUsageEventInput!) { createUsageEvent(input: $input) }"
    assert kana.ask(query, {"input": ids}) == {"createUsageEvent": True}
    assert used(client, user_id, feature_id) == 4
    refused = {"userId": user_id, "featureId": consumable(client)}
    assert kana.ask(query, {"input": refused}) == {"createUsageEvent": False}
    no = {"recorded": False, "reason": "No package of the user has the feature."}
    assert kana.ask(RECORD, {"input": refused}) == {"recordUsage": no}


def test_usage_is_shown_for_the_period_and_those_before(kana: Kana, client: Client, clock: Clock) -> None:
    clock.set(NOW)
    user_id, feature_id = subscriber(client, 5)
    client.create_usage_event(user_id, feature_id, 4)
    clock.set(datetime(2032, 3, 1, tzinfo=UTC))
    client.create_usage_event(user_id, feature_id)
    query = (
        "query q($userId: String!, $featureId: String!) { showUsage(userId: $userId, featureId: $featureId) { current "
        "{ periodStart periodEnd consumption { used budget overageEnabled } } past { periodStart periodEnd consumption "
        "{ used budget overageEnabled } } } }"
    )
    shown = kana.ask(query, {"userId": user_id, "featureId": feature_id})["showUsage"]

    def period(start: str, end: str, used: int) -> dict[str, object]:
        consumption = {"used": used, "budget": 5, "overageEnabled": False}
        return {"periodStart": f"{start}.000Z", "periodEnd": f"{end}.000Z", "consumption": consumption}

    first, second, third = "2032-01-31T12:00:00", "2032-02-29T12:00:00", "2032-03-31T12:00:00"
    assert shown == {"current": period(second, third, 1), "past": [period(first, second, 4)]}
    nothing = {"userId": user_id, "featureId": consumable(client)}
    assert kana.ask(query, nothing) == {"showUsage": {"current": None, "past": []}}


def test_a_period_without_an_end_has_none(kana: Kana, client: Client) -> None:
    user_id, feature_id = subscriber(client, None, v1.RESET_PERIOD_NEVER)
    shown = "current { periodEnd consumption { budget } }"
    query = f'{{ showUsage(userId: "{user_id}", featureId: "{feature_id}") {{ {shown} }} }}'
    assert kana.ask(query) == {"showUsage": {"current": {"periodEnd": None, "consumption": {"budget": None}}}}


def test_users_subscribe_and_their_subscriptions_are_listed(kana: Kana, client: Client) -> None:
    user_id, other = unique("user"), unique("user")
    client.create_user(user_id)
    client.create_user(other)
    packages = [base(client), add_on(client)]
    made = kana.ask(SUBSCRIBE, {"packageIds": packages, "userId": user_id})["subscribe"]
    assert [(each["userId"], each["status"], each["package"]["id"]) for each in made] == [
        (user_id, "ACTIVE", package_id) for package_id in packages
    ]
    client.cancel_subscription(made[1]["id"])
    query = "query q($id: String!) { subscription(id: $id) { id status package { id } plan { id } } }"
    shown = {"id": packages[1]}
    cancelled = {"id": made[1]["id"], "status": "CANCELLED", "package": shown, "plan": shown}
    assert kana.ask(query, {"id": made[1]["id"]}) == {"subscription": cancelled}
    kana.ask(SUBSCRIBE, {"packageIds": [base(client)], "userId": other})
    query = "query q($userId: String) { subscriptions(userId: $userId) { userId status } }"
    of_user = [{"userId": user_id, "status": status} for status in ("ACTIVE", "CANCELLED")]
    listed = kana.ask(query, {"userId": user_id})["subscriptions"]
    assert sorted(listed, key=lambda each: str(each["status"])) == of_user
    of_all = kana.ask(query)["subscriptions"]
    assert {user_id, other} <= {each["userId"] for each in of_all}
    assert "must not be empty" in kana.message(query, {"userId": ""})
    assert (
        kana.error('{ subscription(id: "2") { id } }')["extensions"]["exception"]["name"] == "SubscriptionNotFoundError"
    )


def test_a_package_with_a_number_as_its_id_is_subscribed_to_as_a_plan(kana: Kana, client: Client) -> None:
    user_id = unique("user")
    client.create_user(user_id)
    client.create_package("4711", [entry(binary(client))])
    client.publish_package("4711")
    query = (
        "mutation($planIds: [Int!]!, $userId: String!) { subscribe(planIds: $planIds, userId: $userId) "
        "{ plan { id name isAddon features { name type limit } } } }"
    )
    [made] = kana.ask(query, {"planIds": [4711], "userId": user_id})["subscribe"]
    assert (made["plan"]["id"], made["plan"]["isAddon"]) == ("4711", False)


def test_the_three_rules_of_subscribing_are_told_in_kanas_words(kana: Kana, client: Client) -> None:
    user_id = unique("user")
    client.create_user(user_id)
    addon, first, second = add_on(client), base(client), base(client)

    def refused(*package_ids: str) -> str:
        error = kana.error(SUBSCRIBE, {"packageIds": package_ids, "userId": user_id})
        assert error["path"] == ["subscribe"]
        extensions = error["extensions"]
        assert (extensions["code"], extensions["exception"]["name"]) == ("BAD_USER_INPUT", "SubscriptionError")
        message: str = error["message"]
        return message

    assert refused(addon) == "Cannot subscribe to addon. Missing live tier subscription."
    assert refused(first, second) == "Cannot subscribe to multiple tiers"
    assert refused(first, "nope") == "Package Id not found for app"
    assert list(client.list_subscriptions(user_id)) == []
    [made] = kana.ask(SUBSCRIBE, {"packageIds": [first], "userId": user_id})["subscribe"]
    assert refused(second) == "Cannot subscribe to multiple tiers"
    kana.ask(SUBSCRIBE, {"packageIds": [addon], "userId": user_id})
    client.cancel_subscription(made["id"])
    assert refused(addon) == "Cannot subscribe to addon. Missing live tier subscription."


def test_an_add_on_needs_a_base_package_that_gives_access_already(kana: Kana, client: Client, clock: Clock) -> None:
    user_id = unique("user")
    client.create_user(user_id)
    addon = add_on(client)
    client.subscribe(user_id, [base(client)], started_at=clock.now() + timedelta(days=1))
    variables = {"packageIds": [addon], "userId": user_id}
    assert kana.message(SUBSCRIBE, variables) == "Cannot subscribe to addon. Missing live tier subscription."
    clock.advance(days=2)
    assert len(kana.ask(SUBSCRIBE, variables)["subscribe"]) == 1


def test_there_are_no_links_to_a_payment_provider(kana: Kana) -> None:
    query = 'mutation { generateSubscriptionLink(templateId: "t", successUrl: "s", cancelUrl: "c") { url } }'
    error = kana.error(query)
    assert "no payment provider" in error["message"]
    assert error["extensions"]["exception"]["name"] == "SubscriptionLinkError"


def test_amounts_beyond_32_bits_are_an_error_and_never_another_number(kana: Kana, client: Client) -> None:
    large = 3_000_000_000
    user_id, feature_id = subscriber(client, 2 * large)
    ids = {"userId": user_id, "featureId": feature_id}
    for query, variables in ((CAN_USE, {**ids, "delta": large}), (RECORD, {"input": {**ids, "delta": large}})):
        assert "beyond 32 bits" in kana.message(query, variables)
    assert used(client, user_id, feature_id) == 0
    answer = kana.post(CAN_USE, ids).json()
    assert (answer["data"]["canUseFeature"]["access"], answer["data"]["canUseFeature"]["consumption"]) == (True, None)
    assert [error["path"] for error in answer["errors"]] == [["canUseFeature", "consumption"]]
    assert "6000000000 is too large for GraphQL; amounts beyond 32 bits" in answer["errors"][0]["message"]
    assert kana.ask(CAN_USE.replace("consumption { budget used overageEnabled }", ""), ids)["canUseFeature"]["access"]
