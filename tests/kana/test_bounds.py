"""Requests that would cost much are refused before they do."""

import json
from typing import Any

import httpx
import pytest
from graphql import build_schema

from canuse_server.kana.metadata import from_stored
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.http.kana import work
from canuse_server.transport.http.kana.calls import MAX_CALLS, Calls
from canuse_server.transport.http.kana.execution import Api
from canuse_server.transport.http.kana.request import GraphqlRequest
from support.kana import Kana
from support.message_clients import Client
from support.resources import consumable, subscriber, unique


def nested(levels: int) -> str:
    """Return a query with so many levels of fields."""
    inner = levels - 1
    return '{ canUseFeature(userId: "u", featureId: "f") ' + "{ data " * (inner - 1) + "{ access }" + " }" * inner


def test_levels_are_bounded(kana: Kana) -> None:
    assert kana.error(nested(20))["extensions"]["reason"] == "FEATURE_NOT_FOUND"
    assert kana.message(nested(21)) == "the query has more than 20 levels"
    assert kana.error(nested(5000))["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"


def test_aliases_are_bounded_also_where_fragments_repeat_them(kana: Kana, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)

    def aliased(number: int) -> str:
        asked = f'canUseFeature(userId: "{user_id}", featureId: "{feature_id}") {{ access }}'
        return "{" + " ".join(f"a{index}: {asked}" for index in range(number)) + "}"

    assert len(kana.ask(aliased(200))) == 200
    assert kana.message(aliased(201)) == "the query has more than 200 aliases"
    spread = "fragment F on Query { " + " ".join(f"a{index}: plans {{ id }}" for index in range(60)) + " } "
    # In each of the places a fragment counts anew.
    query = spread + "{ ...F } " + " ".join(f"query q{index} {{ ...F }}" for index in range(3))
    assert "200 aliases" in kana.post(query, operationName="q1").json()["errors"][0]["message"]


DOUBLING = "".join(
    f"fragment F{index} on CanUseFeatureData {{ a: data {{ ...F{index + 1} }} b: data {{ ...F{index + 1} }} }} "
    for index in range(15)
)
DECISION = "access reason consumption { used budget overageEnabled }"
TOO_LARGE = {
    "a field often": ("{ plans { " + "id " * 21 + "} }", "times the field 'id' in one place"),
    "a field often in merged places": ("{ " + "plans { id id } " * 11 + "}", "times the field 'id' in one place"),
    "fragments that double": (
        DOUBLING
        + 'fragment F15 on CanUseFeatureData { access } { canUseFeature(userId: "u", featureId: "f") { ...F0 } }',
        "more than",
    ),
    "a fragment in itself": ("fragment F on Query { ...F } { ...F }", "spread"),
    "a fragment in a field of itself": (
        'fragment F on CanUseFeatureData { data { ...F } } { canUseFeature(userId: "u", featureId: "f") { ...F } }',
        "20 levels",
    ),
    "much introspection": (
        "{ " + " ".join(f"a{i}: __schema {{ types {{ name }} }}" for i in range(4)) + " }",
        "introspections",
    ),
    "introspection among other things": ("{ plans { id } __schema { types { name } } }", "by itself"),
    "introspection among other things in a fragment": (
        "fragment F on Query { __schema { types { name } } } { plans { id } ...F }",
        "by itself",
    ),
    "many fields": (
        "{ "
        + " ".join(
            f'a{index}: canUseFeature(userId: "u", featureId: "f") {{ {DECISION} data {{ {DECISION} }} }}'
            for index in range(200)
        )
        + " }",
        "more than 2000 fields",
    ),
    "large fragments that nothing uses": (
        " ".join(f"fragment F{index} on Package {{ {'id ' * 200}}}" for index in range(10)) + " { plans { id } }",
        "the fragment 'F0' is not used",
    ),
    "a large fragment of the same name": (
        f"fragment F on Package {{ {'id ' * 2000}}} fragment F on Package {{ id }} {{ plans {{ ...F }} }}",
        "the fragment 'F' is defined more than once",
    ),
    "many tokens": ("{ plans(" + "a: 1 " * 5000 + ") { id } }", "token"),
}


@pytest.mark.parametrize("form", TOO_LARGE)
def test_what_is_too_large_is_refused(kana: Kana, form: str) -> None:
    query, text = TOO_LARGE[form]
    answer = kana.post(query)
    assert "data" not in answer.json()
    assert text in answer.json()["errors"][0]["message"]


def test_introspection_is_answered(kana: Kana) -> None:
    names = {each["name"] for each in kana.ask("{ __schema { types { name } } }")["__schema"]["types"]}
    assert {"Feature", "PackageSubscription", "CreateUsageEventInput"} <= names
    looped = "{ __schema { types " + "{ fields { type " * 5 + "{ name }" + " } }" * 5 + " } }"
    assert "errors" in kana.post(looped).json()


@pytest.mark.extended
def test_the_calls_of_a_request_are_bounded(kana: Kana, client: Client) -> None:
    features = [consumable(client) for _ in range(12)]
    user_id = unique("user")
    client.create_user(user_id)
    asked = "{ " + " ".join(
        f'a{index}: features {{ id entitlement(userId: "{user_id}-{index}") {{ access }} }}' for index in range(199)
    )
    answer = kana.post(asked + " }").json()
    assert any(f"more than {MAX_CALLS} calls" in error["message"] for error in answer["errors"])
    assert len(features) * 199 > MAX_CALLS


def test_equal_reads_of_a_request_are_made_once(http: httpx.Client, kana: Kana, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids = f'userId: "{user_id}", featureId: "{feature_id}"'
    query = "mutation { " + " ".join(f"a{index}: createUsageEvent(input: {{ {ids} }}) " for index in range(3))
    assert kana.ask(query + " }") == {"a0": True, "a1": True, "a2": True}
    # What was written is seen by what is read after it.
    shown = kana.ask(
        f'mutation {{ updateUser(id: "{user_id}", input: {{ id: "{user_id}", name: "A" }}) {{ name }} '
        f'b: updateUser(id: "{user_id}", input: {{ id: "{user_id}", name: "B" }}) {{ name }} }}'
    )
    assert shown == {"updateUser": {"name": "A"}, "b": {"name": "B"}}


def test_what_is_told_of_a_query_is_short_however_long_it_is(kana: Kana) -> None:
    """A name that five operations use was quoted ten times."""
    query = "fragment F on Query { user(id: $%s) { id } } " % ("v" * 200_000)
    answer = kana.post(query + " ".join(f"query q{index} {{ ...F }}" for index in range(5)))
    assert len(answer.json()["errors"]) == 5
    assert len(answer.content) < 20_000


async def execute(sdl: str, query: str, items: int) -> dict[str, Any]:
    """Return the answer of a schema whose list has so many items."""
    schema = build_schema(sdl)
    assert schema.query_type is not None
    schema.query_type.fields["items"].resolve = lambda *_: [{"id": "a"}] * items
    request = GraphqlRequest(query, {}, None)
    return (await Api(schema).execute(request, work.Work(Calls(None, [], 0, YieldBudget()), {}))).body  # type: ignore[arg-type]


async def test_errors_of_fields_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_ERRORS", 20)
    body = await execute("type Query { items: [Item] } type Item { id: Int }", "{ items { id } }", 30)
    assert body["data"]["items"] == [{"id": None}] * 30
    assert len(body["errors"]) == 20


async def test_fields_are_bounded_in_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object of a list had as many as a query may have in all."""
    monkeypatch.setattr(work, "MAX_FIELDS", 50)
    body = await execute("type Query { items: [Item] } type Item { id: ID }", "{ items { id b: id } }", 30)
    answered = [item for item in body["data"]["items"] if item is not None]
    assert len(answered) == 24
    assert body["errors"][0]["message"] == "the answer has more than 50 fields: ask for less at a time"


METADATA = "mutation m($i: CreateUserInput!) { createUser(input: $i) { metadata } }"


@pytest.mark.parametrize("metadata", ["1e999", '{"a": -1e999}', '"\\ud800"', '{"\\udfff": 1}', "[" * 200 + "]" * 200])
@pytest.mark.parametrize("as_text", [False, True])
def test_what_cannot_be_answered_again_is_refused(http: httpx.Client, metadata: str, as_text: bool) -> None:
    """The answer had the word Infinity, or was an internal error."""
    variables = f'{{"i": {{"id": "{unique("user")}", "name": "A", "metadata": {metadata}}}}}'
    sent = json.dumps(variables) if as_text else variables
    answer = http.post("/graphql", content=f'{{"query": {json.dumps(METADATA)}, "variables": {sent}}}')
    [error] = answer.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("literal", ["1e999", "{a: [1e999]}", "9" * 5000])
def test_literals_that_no_number_is_are_refused(kana: Kana, literal: str) -> None:
    query = f'mutation {{ createUser(input: {{id: "{unique("user")}", name: "A", metadata: {literal}}}) {{ id }} }}'
    assert kana.message(query).startswith("metadata: must be JSON")


@pytest.mark.parametrize("stored", ["Infinity", "1e999", "[" * 300 + "]" * 300, "[" * 2000])
def test_stored_metadata_that_cannot_be_answered_is_shown_as_it_is(stored: str) -> None:
    assert from_stored({"kana_json": stored}) == {"kana_json": stored}
