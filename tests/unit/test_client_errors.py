"""What a failed call raises, built from a real `google.rpc.Status` as gRPC delivers it."""

import copy
import pickle

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

import canuse
from canuse.errors import CanuseError, FieldViolation, from_rpc_error, from_status

CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: canuse.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: canuse.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: canuse.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: canuse.FailedPrecondition,
    grpc.StatusCode.ABORTED: canuse.Aborted,
    grpc.StatusCode.UNAUTHENTICATED: canuse.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: canuse.PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: canuse.Overloaded,
    grpc.StatusCode.UNAVAILABLE: canuse.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: canuse.DeadlineExceeded,
}


class SyncFailure(grpc.RpcError):
    """The error of a sync call, with the methods that matter."""

    def __init__(self, code: grpc.StatusCode, message: str | None, details: bytes | None) -> None:
        """Store how the call ended."""
        self._end = code, message, details

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._end[0]

    def details(self) -> str | None:
        """Return the message."""
        return self._end[1]

    def trailing_metadata(self) -> object:  # type: ignore[override]
        """Return the trailing metadata, None without any."""
        details = self._end[2]
        return None if details is None else (("x-other", "1"), ("grpc-status-details-bin", details))


def asyncio_failure(code: grpc.StatusCode, message: str | None, details: bytes | None) -> grpc.RpcError:
    """Return the error of an asyncio call."""
    trailing = grpc.aio.Metadata(("x-other", "1"))
    if details is not None:
        trailing.add("grpc-status-details-bin", details)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=message)


def pack(code: grpc.StatusCode, *details: Message) -> bytes:
    """Return the value of `grpc-status-details-bin`."""
    status = Status(code=code.value[0], message="as in the status")
    for detail in details:
        status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


def failed(code: grpc.StatusCode, *details: Message) -> CanuseError:
    """Return the client's error for a status with details."""
    return from_rpc_error(SyncFailure(code, "a message", pack(code, *details)))


def info(reason: str, domain: str = "canuse", **metadata: str) -> Message:
    """Return an ErrorInfo."""
    message: Message = ErrorInfo(reason=reason, domain=domain, metadata=metadata)
    return message


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_each_status_has_its_class_and_the_others_the_base(code: grpc.StatusCode) -> None:
    error = failed(code)
    assert type(error) is CLASSES.get(code, CanuseError)
    assert error.code is code


@pytest.mark.parametrize("failure", [SyncFailure, asyncio_failure])
def test_everything_the_server_says_becomes_an_attribute(failure: type[SyncFailure]) -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="user.id", description="is empty")])
    retry = RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    error = from_rpc_error(
        failure(code, "user.id: is empty", pack(code, info("INVALID_FIELD", user_id="u"), bad, retry))
    )
    assert isinstance(error, canuse.InvalidArgument)
    assert error.reason == "INVALID_FIELD"
    assert error.message == "user.id: is empty"
    assert error.metadata == {"user_id": "u"}
    assert error.violations == (FieldViolation(field="user.id", description="is empty"),)
    assert error.retry_after_seconds == 1.5


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_the_status_of_one_call_of_a_batch_is_the_error_that_the_call_alone_raises(code: grpc.StatusCode) -> None:
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="user.id", description="is empty")])
    packed = pack(code, info("STORE_UNAVAILABLE", user_id="u"), bad)
    error, alone = from_status(Status.FromString(packed)), from_rpc_error(SyncFailure(code, "as in the status", packed))
    assert type(error) is type(alone)
    assert vars(error) | {"_is_batch_item": False} == vars(alone)
    assert str(error) == str(alone)


def test_a_status_with_a_code_that_nobody_knows_is_an_error_all_the_same() -> None:
    error = from_status(Status(code=99, message="odd"))
    assert (type(error), error.code, error.message) == (CanuseError, grpc.StatusCode.UNKNOWN, "odd")


@pytest.mark.parametrize("failure", [SyncFailure, asyncio_failure])
def test_a_call_that_no_server_answered_has_a_status_and_nothing_more(failure: type[SyncFailure]) -> None:
    error = from_rpc_error(failure(grpc.StatusCode.UNAVAILABLE, None, None))
    assert type(error) is canuse.Unavailable
    assert (error.reason, error.metadata, error.violations, error.retry_after_seconds) == ("", {}, (), None)
    assert str(error) == "no message (UNAVAILABLE)"


@pytest.mark.parametrize(
    ("reason", "kind"), [("OUTCOME_UNKNOWN", canuse.OutcomeUnknown), ("STORE_UNAVAILABLE", canuse.StoreUnavailable)]
)
def test_the_class_of_an_error_says_whether_a_write_may_have_happened(reason: str, kind: type[CanuseError]) -> None:
    error = failed(grpc.StatusCode.UNAVAILABLE, info(reason))
    assert type(error) is kind
    assert isinstance(error, canuse.Unavailable)
    assert type(failed(grpc.StatusCode.INTERNAL, info(reason))) is CanuseError


def test_the_reason_of_something_else_on_the_way_is_not_taken_for_ours() -> None:
    proxy = info("OUTCOME_UNKNOWN", domain="proxy.example", hop="1")
    error = failed(grpc.StatusCode.UNAVAILABLE, proxy)
    assert (type(error), error.reason, error.metadata) == (canuse.Unavailable, "", {})
    both = failed(grpc.StatusCode.UNAVAILABLE, proxy, info("STORE_UNAVAILABLE"))
    assert type(both) is canuse.StoreUnavailable


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff\xff",
        Status(
            details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")]
        ).SerializeToString(),
        Status(details=[AnyMessage(type_url="type.googleapis.com/unheard.Of", value=b"\x08\x01")]).SerializeToString(),
    ],
)
def test_details_that_cannot_be_read_do_not_hide_the_error(details: bytes) -> None:
    error = from_rpc_error(SyncFailure(grpc.StatusCode.NOT_FOUND, "a message", details))
    assert (type(error), error.message, error.reason) == (canuse.NotFound, "a message", "")


def test_a_bare_rpc_error_is_still_a_canuse_error() -> None:
    error = from_rpc_error(grpc.RpcError("odd"))
    assert (type(error), error.code, error.message) == (CanuseError, grpc.StatusCode.UNKNOWN, "odd")


@pytest.mark.parametrize(
    "kind",
    [*CLASSES.values(), canuse.OutcomeUnknown, canuse.StoreUnavailable, CanuseError],
    ids=lambda kind: kind.__name__,
)
def test_every_error_survives_pickling_and_copying(kind: type[CanuseError]) -> None:
    error = kind(
        "a message",
        reason="INVALID_FIELD",
        metadata={"user_id": "u"},
        violations=[FieldViolation("user.id", "is empty")],
        retry_after_seconds=1.5,
    )
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert vars(twin) == vars(error)
        assert repr(twin) == repr(error)
    assert error.code is kind.code


def test_an_error_reads_well() -> None:
    error = failed(grpc.StatusCode.NOT_FOUND, info("USER_NOT_FOUND", user_id="u"))
    assert str(error) == "a message (USER_NOT_FOUND)"
    assert repr(error) == "NotFound('a message', code=NOT_FOUND, reason='USER_NOT_FOUND', metadata={'user_id': 'u'})"
    retry = RetryInfo(retry_delay=Duration(seconds=2))
    assert repr(failed(grpc.StatusCode.RESOURCE_EXHAUSTED, retry)) == (
        "Overloaded('a message', code=RESOURCE_EXHAUSTED, retry_after_seconds=2.0)"
    )
