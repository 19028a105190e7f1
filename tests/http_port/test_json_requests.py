"""What is wrong with a request in JSON: an error that names the field, and nothing is counted."""

import base64
import gzip
import json
import struct
from typing import Any

import httpx
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from canuse import v1
from support.load import used
from support.message_clients import Client
from support.resources import subscriber, unique

SERVICE = "/canuse.v1.EntitlementService/"
IDS = '"userId": "USER", "featureId": "FEATURE"'
WRONG: dict[str, tuple[str, str, str]] = {
    "a number for userId": ('{"userId": 124, "featureId": "FEATURE"}', "userId", "must be a string; 124 was sent"),
    "true for userId": ('{"userId": true, "featureId": "FEATURE"}', "userId", "must be a string; true was sent"),
    "a list for userId": (
        '{"userId": ["USER"], "featureId": "FEATURE"}',
        "userId",
        "must be a string; a list was sent",
    ),
    "half a character": ('{"userId": "\\ud800"}', "userId", "must be a string; '\\ud800' was sent"),
    "an unknown field": (
        '{"userID": "USER", "featureId": "FEATURE"}',
        "userID",
        "is not a field of canuse.v1.UseFeatureRequest; did you mean 'userId'?",
    ),
    "a field twice": (
        '{"userId": "a", "userId": "USER"}',
        "userId",
        "must be sent once in an object; it was sent twice",
    ),
    "a field by both names": (
        '{"user_id": "a", "userId": "USER"}',
        "userId",
        "must be sent once; it was sent as 'user_id' as well",
    ),
    "a fraction": (f'{{{IDS}, "delta": 1.5}}', "delta", "as a number or a string; 1.5 was sent"),
    "a text for a number": (f'{{{IDS}, "delta": "1_0"}}', "delta", "as a number or a string; '1_0' was sent"),
    "too large a number": (f'{{{IDS}, "delta": 9223372036854775808}}', "delta", "; 9223372036854775808 was sent"),
    "a huge number": (f'{{{IDS}, "delta": 1e999}}', "delta", "; inf was sent"),
    "true for a number": (f'{{{IDS}, "delta": true}}', "delta", "; true was sent"),
    "a list for a map": (f'{{{IDS}, "metadata": []}}', "metadata", "must be an object; a list was sent"),
    "a number in a map": (f'{{{IDS}, "metadata": {{"a": 1}}}}', "metadata.a", "must be a string; 1 was sent"),
    "no object": ("[]", "request", "as a JSON object; a list was sent"),
    "null": ("null", "request", "as a JSON object; null was sent"),
    "a text": ('"{}"', "request", "as a JSON object; the string '{}' was sent"),
    "nothing": ("", "request", "as a JSON object; nothing was sent"),
    "broken JSON": (f"{{{IDS},}}", "request", "no JSON (line 1, column"),
    "two objects": (f"{{{IDS}}}{{}}", "request", "no JSON (line 1, column"),
    "NaN": (f'{{{IDS}, "delta": NaN}}', "request", "no JSON"),
    "many levels": ("[" * 100_000, "request", "too many levels"),
    "a long number": (f'{{{IDS}, "delta": {"9" * 5000}}}', "request", "no JSON"),
    "5 MiB": (f'{{{IDS}, "eventId": "{"x" * (5 << 20)}"}}', "request", "must be at most"),
}


def read(answer: httpx.Response) -> dict[str, str]:
    """Return the wrong fields of an error with what is wrong, from its message, its details, and what people read."""
    error = answer.json()
    assert error.keys() == {"code", "message", "details"}
    info, bad = error["details"]
    assert (info["type"], bad["type"]) == ("google.rpc.ErrorInfo", "google.rpc.BadRequest")
    assert ErrorInfo.FromString(_bytes(info["value"])).reason == info["debug"]["reason"] == "INVALID_FIELD"
    found = {each.field: each.description for each in BadRequest.FromString(_bytes(bad["value"])).field_violations}
    assert {each["field"]: each["description"] for each in bad["debug"]["fieldViolations"]} == found
    assert all(field in error["message"] for field in found)
    return found


def _bytes(text: str) -> bytes:
    assert "=" not in text
    return base64.b64decode(text + "==")


@pytest.fixture(scope="module")
def ids(client: Client) -> tuple[str, str]:
    """A user and a feature of which 5 may be used."""
    return subscriber(client, 5)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_names_the_field_and_counts_nothing(
    http: httpx.Client, client: Client, ids: tuple[str, str], case: str
) -> None:
    text, field, problem = WRONG[case]
    body = text.replace("USER", ids[0]).replace("FEATURE", ids[1])
    refused = http.post(f"{SERVICE}UseFeature", content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_argument")
    [(named, text)] = read(refused).items()
    assert named == field
    assert problem in text
    assert used(client, *ids) == 0


def test_a_name_that_an_enum_does_not_have_is_refused(http: httpx.Client, client: Client, ids: tuple[str, str]) -> None:
    sent = {"userId": ids[0], "featureId": ids[1], "action": "ADD"}
    refused = http.post(f"{SERVICE}CreateUsageEvent", json=sent)
    assert read(refused) == {"action": "must be a name of canuse.v1.UsageAction; 'ADD' was sent"}
    assert used(client, *ids) == 0


def test_all_that_is_wrong_is_named_with_its_path(http: httpx.Client) -> None:
    sent = {"requests": [{"userId": "a"}, {"userId": 1, "featureid": "b"}, 5], "more": None}
    refused = http.post(f"{SERVICE}BatchCanUse", json=sent)
    assert read(refused) == {
        "requests[1].userId": "must be a string; 1 was sent",
        "requests[1].featureid": "is not a field of canuse.v1.CanUseRequest; did you mean 'featureId'?",
        "requests[2]": "must be an object; the number 5 was sent",
        "more": "is not a field of canuse.v1.BatchCanUseRequest",
    }


def test_what_the_method_refuses_has_the_names_of_json_as_well(http: httpx.Client) -> None:
    """A missing `userId` was named `user_id`, and one of the wrong type `userId`."""
    empty = "must be 1 to 128 bytes of UTF-8 without control characters; nothing was sent"
    by_post = http.post(f"{SERVICE}UseFeature", json={"user_id": ""})
    by_get = http.get(f"{SERVICE}CanUse", params={"encoding": "json", "message": "{}"})
    for refused in (by_post, by_get):
        assert read(refused) == {"userId": empty, "featureId": empty}
        assert refused.json()["message"] == f"userId: {empty}; featureId: {empty}"
    nested = {"package": {"id": unique("package"), "features": [{"featureId": ""}], "metadata": {"a_key": "x" * 5000}}}
    assert read(http.post("/canuse.v1.CatalogService/CreatePackage", json=nested)).keys() == {
        "package.features[0].featureId",
        "package.metadata",
    }
    by_proto = http.post(f"{SERVICE}UseFeature", content=b"", headers={"content-type": "application/proto"})
    assert read(by_proto) == {"user_id": empty, "feature_id": empty}


def test_the_items_of_a_batch_and_the_end_of_a_stream_have_the_names_of_json(http: httpx.Client) -> None:
    sent = {"requests": [{"featureId": "f"}, {"userId": "u"}]}
    first, second = http.post(f"{SERVICE}BatchUseFeature", json=sent).json()["results"]
    for result, field in ((first, "userId"), (second, "featureId")):
        status = result["status"]
        assert status["message"].startswith(f"{field}: must be 1 to 128 bytes")
        assert [each["field"] for each in status["details"][1]["fieldViolations"]] == [field]
    message = b'{"packageId": ""}'
    body = struct.pack(">BI", 0, len(message)) + message
    path, kind = "/canuse.v1.CatalogService/MigrateSubscriptions", {"content-type": "application/connect+json"}
    ended = http.post(path, content=body, headers=kind)
    assert "packageId" in json.loads(ended.content[5:])["error"]["message"]
    assert "package_id" not in ended.text


def test_an_error_in_a_catalogue_says_where_it_is_as_json_does(http: httpx.Client) -> None:
    entry = {"featureId": unique("nothing")}
    package = {"id": unique("package"), "features": [entry]}
    refused = http.post("/canuse.v1.CatalogService/ApplyCatalog", json={"packages": [package]}).json()
    assert refused["details"][0]["debug"]["metadata"]["field"] == "packages[0].features[0].featureId"


def test_a_list_that_is_too_long_is_refused_before_its_items_are_read(http: httpx.Client) -> None:
    refused = http.post(f"{SERVICE}BatchCanUse", json={"requests": [{}] * 3000})
    assert read(refused) == {"requests": "must be at most 1000; 3000 were sent"}


def test_many_values_are_refused_before_any_is_read(http: httpx.Client) -> None:
    """Reading a few MiB of them takes Python's lock for a third of a second, and much memory."""
    refused = http.post(f"{SERVICE}BatchCanUse", json={"requests": [{}] * 300_000})
    [(named, text)] = read(refused).items()
    assert named == "request"
    assert " as a JSON object; one with more than " in text
    many = {f"a{index}": 0 for index in range(50_000)}
    assert "values was sent" in read(http.post(f"{SERVICE}CanUse", json=many))["request"]
    # What is in a text counts not.
    text = "," * 256
    assert http.post(
        "/canuse.v1.UserService/CreateUser", json={"user": {"id": unique("user"), "name": text}}
    ).is_success


def test_names_are_shortened_and_shown_as_text(http: httpx.Client) -> None:
    long = "x" * 100_000
    for body in (f'{{"{long}": 0, "a{long}": 0}}', f'{{"{long}": 0, "{long}": 0}}', '{"\\ud800": 0}'):
        refused = http.post(f"{SERVICE}CanUse", content=body, headers={"content-type": "application/json"})
        assert refused.status_code == 400
        assert all(0 < len(field) < 200 for field in read(refused))


def test_times_and_masks_are_told_how_to_be_written(http: httpx.Client) -> None:
    refused = http.post(
        "/canuse.v1.UserService/UpdateUser", json={"user": {"id": "a", "createdAt": 5}, "updateMask": []}
    )
    found = read(refused)
    assert found["user.createdAt"] == 'must be a time like "2026-01-31T12:00:00Z"; 5 was sent'
    assert found["updateMask"] == 'must be names of fields like "name,unitLabel"; a list was sent'


@pytest.mark.parametrize(
    "content_type", ["text/plain", "", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_another_content_type_is_refused(
    http: httpx.Client, client: Client, ids: tuple[str, str], content_type: str
) -> None:
    body = json.dumps({"userId": ids[0], "featureId": ids[1]})
    refused = http.post(f"{SERVICE}UseFeature", content=body, headers={"content-type": content_type})
    assert (refused.status_code, refused.json()["code"]) == (415, "invalid_argument")
    assert read(refused)["content-type"].startswith("must be application/json or application/proto; ")
    assert used(client, *ids) == 0


def test_compressed_requests_are_refused(http: httpx.Client, client: Client, ids: tuple[str, str]) -> None:
    body = gzip.compress(json.dumps({"userId": ids[0], "featureId": ids[1]}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused = http.post(f"{SERVICE}UseFeature", content=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (501, "unimplemented")
    assert read(refused) == {"content-encoding": "must be identity; 'gzip' was sent"}
    assert used(client, *ids) == 0


def test_a_body_of_unknown_length_is_bounded_too(http: httpx.Client) -> None:
    refused = http.post(
        f"{SERVICE}CanUse",
        content=(b" " * (64 << 10) for _ in range(80)),
        headers={"content-type": "application/json"},
    )
    assert refused.status_code == 400
    assert "must be at most" in read(refused)["request"]


def test_integers_are_accepted_as_numbers_and_as_strings_and_sent_as_strings(
    http: httpx.Client, client: Client
) -> None:
    user_id, feature_id = subscriber(client, 100)
    for delta in (1, "2", 3.0, 4e0):
        sent = {"userId": user_id, "featureId": feature_id, "delta": delta}
        assert http.post(f"{SERVICE}CreateUsageEvent", json=sent).status_code == 200
    answer = http.post("/canuse.v1.UsageService/ShowUsage", json={"user_id": user_id, "feature_id": feature_id}).json()
    assert answer["current"]["used"] == "10"


def test_what_is_false_zero_or_empty_is_there_all_the_same(http: httpx.Client, client: Client) -> None:
    user_id, feature_id = subscriber(client, 0)
    answer = http.post(f"{SERVICE}CanUse", json={"userId": user_id, "featureId": feature_id})
    assert '"access": false' in answer.text
    assert answer.json()["consumption"]["used"] == "0"
    assert http.post("/canuse.v1.CatalogService/ListPackages", json={"pageToken": ""}).json()["nextPageToken"] == ""


def test_null_is_as_if_the_field_were_not_there(http: httpx.Client, client: Client, ids: tuple[str, str]) -> None:
    sent: dict[str, Any] = {"userId": ids[0], "featureId": ids[1], "delta": None}
    assert http.post(f"{SERVICE}CanUse", json=sent).json()["access"] is True


def test_texts_of_any_language_arrive_and_return(http: httpx.Client, client: Client) -> None:
    user_id = unique("\u7528\u6237-\U0001f600")
    for ensure_ascii in (True, False):
        body = json.dumps({"user": {"id": f"{user_id}{ensure_ascii}"}}, ensure_ascii=ensure_ascii).encode()
        created = http.post(
            "/canuse.v1.UserService/CreateUser", content=body, headers={"content-type": "application/json"}
        )
        assert created.json()["user"]["id"] == f"{user_id}{ensure_ascii}"
    assert client.get_user(f"{user_id}True") == v1.User.FromString(
        client.get_user(f"{user_id}True").SerializeToString()
    )
