"""Answers that would be too large."""

from collections.abc import Iterator

import pytest

from canuse import v1
from canuse_server.transport.http.kana.calls import MAX_ITEMS
from canuse_server.transport.http.kana.work import MAX_OBJECTS
from support.kana import Kana
from support.message_clients import Client
from support.processes import Canuse

PACKAGES, ENTRIES = 40, 100


@pytest.fixture(scope="module")
def client(canuse: Canuse) -> Iterator[Client]:
    """A client of a server with packages that share features."""
    with Client(canuse.address) as client:
        features = [v1.Feature(id=f"f{index}", type=v1.FEATURE_TYPE_BINARY) for index in range(ENTRIES)]
        entries = [v1.PackageFeature(feature_id=feature.id) for feature in features]
        packages = [v1.Package(id=f"p{index}", features=entries) for index in range(PACKAGES)]
        client.apply_catalog(features, packages)
        yield client


def test_long_lists_are_whole_up_to_the_bound_of_an_answer(kana: Kana, client: Client) -> None:
    packages = kana.ask("{ packages { id features { id } } }")["packages"]
    assert [len(package["features"]) for package in packages] == [ENTRIES] * PACKAGES
    assert {feature["id"] for feature in packages[0]["features"]} == {feature.id for feature in client.list_features()}
    assert ENTRIES * PACKAGES * ENTRIES > MAX_OBJECTS
    error = kana.message("{ features { packages { features { id } } } }")
    assert error == f"the answer has more than {MAX_OBJECTS} objects: ask for less at a time"


@pytest.mark.extended
def test_a_list_beyond_the_bound_is_an_error_that_names_the_method_with_pages(kana: Kana, client: Client) -> None:
    for start in range(0, MAX_ITEMS + 1, 2000):
        many = range(start, start + 2000)
        client.apply_catalog([v1.Feature(id=f"many-{index}", type=v1.FEATURE_TYPE_BINARY) for index in many])
    assert kana.message("{ features { id } }") == (
        f"there are more than {MAX_ITEMS} features: call ListFeatures of canuse, which has pages"
    )
    assert kana.ask('{ feature(id: "f1") { id } }') == {"feature": {"id": "f1"}}
