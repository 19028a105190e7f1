"""The forms in which Kana's clients send requests, and those that are refused."""

import json

import httpx
import pytest

from canuse_server.kana.metadata import from_stored
from support.kana import Kana
from support.load import used
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

RECORD = "mutation m($input: CreateUsageEventInput!) { createUsageEvent(input: $input) }"
ASK = "query q($userId: String!) { user(id: $userId) { id } }"


@pytest.fixture
def ids(client: Client) -> tuple[str, str]:
    """A user and a consumable feature of the user."""
    return subscriber(client, 5)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-8", "authorization": "prv_live_x", "x-api-version": "0.1"},
        {"content-type": "text/plain", "authorization": "Bearer prv_test_x"},
        {},
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_variables_are_an_object_or_a_text_and_the_content_type_does_not_matter(
    http: httpx.Client, client: Client, ids: tuple[str, str], headers: dict[str, str], as_text: bool
) -> None:
    variables = {"input": {"userId": ids[0], "featureId": ids[1]}, "undeclared": 1}
    body = {"query": RECORD, "variables": json.dumps(variables) if as_text else variables}
    request = http.build_request("POST", "/graphql", content=json.dumps(body), headers=headers)
    if "content-type" not in headers:
        request.headers.pop("content-type", None)
    assert http.send(request).json() == {"data": {"createUsageEvent": True}}
    assert used(client, *ids) == 1


@pytest.mark.parametrize("variables", [{"variables": None}, {}, {"variables": "null"}, {"variables": ""}])
def test_without_variables_there_may_be_null_or_nothing(http: httpx.Client, variables: dict[str, object]) -> None:
    body = {"query": "{ features { id } }", "operationName": None, **variables}
    assert "errors" not in http.post("/graphql", json=body).json()


def test_the_operation_is_selected_by_its_name(kana: Kana, ids: tuple[str, str]) -> None:
    query = "query a { plans { id } } query b($u: String!) { user(id: $u) { id } }"
    answer = kana.post(query, {"u": ids[0]}, operationName="b").json()
    assert answer == {"data": {"user": {"id": ids[0]}}}
    [error] = kana.post(query, {"u": ids[0]}).json()["errors"]
    assert "operation" in error["message"]


@pytest.mark.parametrize("wrong", [124, 1.5, True, ["u1"], {"id": "u1"}])
def test_an_id_that_is_not_a_string_is_refused(kana: Kana, client: Client, ids: tuple[str, str], wrong: object) -> None:
    assert "String cannot represent a non string value: " in kana.message(ASK, {"userId": wrong})
    assert "String cannot represent" in kana.message(RECORD, {"input": {"userId": wrong, "featureId": ids[1]}})
    assert used(client, *ids) == 0


REFUSED = {
    "nothing": (b"", "request: must be"),
    "no JSON": (b"query=%7B%7D", "no JSON"),
    "a number": (b"1", "the number 1 was sent"),
    "a batch": (b'[{"query": "{ plans { id } }"}]', "batches are not accepted"),
    "no query": (b'{"variables": {}}', "query: must be a GraphQL query as a string; nothing was sent"),
    "another query": (b'{"query": {"a": 1}}', "an object was sent"),
    "an empty query": (b'{"query": " "}', "query: must be"),
    "a query twice": (b'{"query": "{ a }", "query": "{ plans { id } }"}', "query: must be sent once in an object"),
    "half a character in a variable": (
        rb'{"query": "query q($u: String!) { user(id: $u) { id } }", "variables": {"u": "\ud800"}}',
        "half a character",
    ),
    "half a character in variables as a text": (
        rb'{"query": "query q($u: String!) { user(id: $u) { id } }", "variables": "{\"u\": \"\\ud800\"}"}',
        "half a character",
    ),
    "a variable twice": (b'{"query": "{ a }", "variables": {"a": 1, "a": 2}}', "a: must be sent once in an object"),
    "a variable twice in a text": (
        b'{"query": "{ a }", "variables": "{\\"a\\": 1, \\"a\\": 2}"}',
        "a: must be sent once in an object",
    ),
    "a list of variables": (b'{"query": "{ a }", "variables": []}', "variables: must be"),
    "variables that are no JSON": (b'{"query": "{ a }", "variables": "{"}', "variables: must be"),
    "a number as the operation": (b'{"query": "{ a }", "operationName": 1}', "operationName: must be a string"),
    "many levels": (b'{"query": "{ a }", "variables": {"a": ' + b"[" * 50_000, "too many levels"),
    "many values": (b'{"query": "{ a }", "variables": {"a": [' + b"1," * 20_000 + b"1]}}", "more than 10000 values"),
    "much": (b'{"query": "' + b" " * 300_000 + b'"}', "must be at most 262144 bytes"),
    "NaN": (b'{"query": "{ a }", "variables": {"a": NaN}}', "no JSON"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_request_is_an_error_with_status_400(http: httpx.Client, form: str) -> None:
    body, text = REFUSED[form]
    answer = http.post("/graphql", content=body)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert text in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


def test_graphql_is_only_posted(http: httpx.Client) -> None:
    answer = http.get("/graphql", params={"query": "{ plans { id } }"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_mistakes_in_a_query_are_told_with_their_place(kana: Kana) -> None:
    error = kana.error("{ users { nme } }")
    assert error["locations"] == [{"line": 1, "column": 11}]
    assert "'nme'" in error["message"]
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert kana.error("{ users {")["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"


def test_mistakes_of_callers_are_not_logged(kana: Kana, canuse: Canuse) -> None:
    before = canuse.log
    kana.error('{ user(id: "nobody") { id } }')
    kana.error("{ users { nme } }")
    assert canuse.log == before


def test_metadata_that_only_looks_like_kanas_is_shown_as_it_is() -> None:
    assert from_stored({"kana_json": "{"}) == {"kana_json": "{"}
