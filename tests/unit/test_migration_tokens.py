"""Resume tokens of migrations carry the progress, are valid for one request, and are validated."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.tokens import migration as migration_tokens
from canuse_server.api.tokens.migration import Progress
from canuse_server.domain.model import MAX_AMOUNT

REQUEST = v1.MigrateSubscriptionsRequest(package_id="pro", from_version=1, dry_run=True)
versions = st.integers(0, 2**31 - 1)
counts = st.integers(0, MAX_AMOUNT)
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=32)


def with_token(token: str) -> v1.MigrateSubscriptionsRequest:
    """Return the request with a token."""
    request = v1.MigrateSubscriptionsRequest(resume_token=token)
    request.MergeFrom(REQUEST)
    return request


def token_of(value: object) -> str:
    """Return a token with forged content."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def refused(token: str) -> None:
    """Assert that a token is refused by its field."""
    with pytest.raises(ApiError) as caught:
        migration_tokens.decode(with_token(token))
    assert caught.value.reason is ErrorReason.INVALID_FIELD
    assert [field for field, _ in caught.value.violations] == ["resume_token"]


@given(ids, versions, versions, st.booleans(), st.builds(Progress, versions, counts, ids, counts, counts, counts))
def test_a_token_brings_back_how_far_its_request_was(
    package_id: str, from_version: int, to_version: int, dry_run: bool, progress: Progress
) -> None:
    request = v1.MigrateSubscriptionsRequest(
        package_id=package_id, from_version=from_version, to_version=to_version, dry_run=dry_run
    )
    request.resume_token = migration_tokens.encode(request, progress)
    assert migration_tokens.decode(request) == progress


def test_without_a_token_there_is_no_progress() -> None:
    assert migration_tokens.decode(REQUEST) is None


def test_the_longest_ids_make_a_token_that_is_taken() -> None:
    longest = Progress(2**31 - 1, 1023, "𐍈" * 32, MAX_AMOUNT, MAX_AMOUNT, MAX_AMOUNT)
    request = v1.MigrateSubscriptionsRequest(package_id='"' * 128, from_version=1, to_version=2, dry_run=True)
    request.resume_token = migration_tokens.encode(request, longest)
    assert migration_tokens.decode(request) == longest


@pytest.mark.parametrize(
    "rest",
    [
        [],
        [2, 0, "", 0, 0],
        [2, 0, "", 0, 0, 0, 0],
        [2, 0, 7, 0, 0, 0],
        [2, 0, "", -1, 0, 0],
        [2, 0, "", 2**53, 0, 0],
        [2, 0, "", 0.5, 0, 0],
        [2, None, "", 0, 0, 0],
        [{}, 0, "", 0, 0, 0],
    ],
    ids=str,
)
def test_a_token_that_the_server_would_not_have_made_is_refused(rest: list[object]) -> None:
    refused(token_of([REQUEST.package_id, REQUEST.from_version, REQUEST.to_version, REQUEST.dry_run, *rest]))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_other_text_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("token", [token_of({}), token_of(7), token_of("a" * 9000), "[" * 4000, token_of([[]] * 10)])
def test_other_json_is_refused(token: str) -> None:
    refused(token)
