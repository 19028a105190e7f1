"""Stored documents of the catalog and of profiles: read back as written, and written again to the same bytes."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from canuse_server.domain.model import (
    Feature,
    FeatureType,
    Package,
    PackageFeature,
    PackageStatus,
    PackageType,
    Profile,
    ResetPeriod,
)
from canuse_server.store.codec.documents import decode_feature, decode_package, decode_profile, encode
from support.strategies import limits, moments, reset_periods

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
metadata = st.dictionaries(texts, texts, max_size=4)
features = st.builds(
    Feature,
    id=texts.filter(bool),
    type=st.sampled_from(FeatureType),
    created_at_ms=moments,
    name=texts,
    unit_label=texts,
    unit_label_plural=texts,
    metadata=metadata,
    archived=st.booleans(),
)
packages = st.builds(
    Package,
    id=texts.filter(bool),
    created_at_ms=moments,
    name=texts,
    type=st.sampled_from(PackageType),
    features=st.lists(
        st.builds(PackageFeature, texts.filter(bool), limits, reset_periods, st.booleans()), max_size=3
    ).map(tuple),
    metadata=metadata,
    status=st.sampled_from(PackageStatus),
    version=st.integers(1, 2**31 - 1),
)
hundreds = settings(max_examples=150, deadline=None)


@given(features)
@example(Feature("f", FeatureType.BINARY, 0))  # 0 was taken for nothing and left out, and could not be read again.
@hundreds
def test_a_feature_is_read_as_it_was_written_and_written_as_it_was_read(feature: Feature) -> None:
    value = encode(feature)
    assert decode_feature(value) == feature
    # An optimistic write compares the bytes of what it replaces.
    assert encode(decode_feature(value)) == value


@given(packages)
@example(Package("p", 1, features=(PackageFeature("f", 0, ResetPeriod.DAY),)))
@example(Package("p", 0))  # As above.
@hundreds
def test_a_package_is_read_as_it_was_written_and_written_as_it_was_read(package: Package) -> None:
    value = encode(package)
    assert decode_package(value) == package
    assert encode(decode_package(value)) == value


@given(st.builds(Profile, texts, texts, texts, metadata))
@hundreds
def test_a_profile_is_read_as_it_was_written_and_written_as_it_was_read(profile: Profile) -> None:
    value = encode(profile)
    assert decode_profile(value) == profile
    assert encode(decode_profile(value)) == value


def test_empty_fields_are_not_stored() -> None:
    assert encode(Profile()) == b"{}"
    assert json.loads(encode(Feature("f", FeatureType.BINARY, 5))) == {"id": "f", "type": 1, "created_at_ms": 5}


def test_documents_are_readable_json() -> None:
    assert encode(Profile(name="Zoë", metadata={"plan": ""})) == '{"name":"Zoë","metadata":{"plan":""}}'.encode()
