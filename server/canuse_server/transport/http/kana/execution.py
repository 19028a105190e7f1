"""Executing a GraphQL request against a schema that Ariadne has bound to its resolvers."""

import logging
import math
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from ariadne import graphql, graphql_sync
from graphql import GraphQLError, GraphQLResolveInfo, GraphQLSchema, is_non_null_type
from graphql.execution.executor import Executor

from canuse_server.api.errors import ApiError, internal
from canuse_server.transport.http.kana.documents import Document, Documents
from canuse_server.transport.http.kana.errors import BAD_USER_INPUT, VALIDATION_FAILED, KanaError, error_fields
from canuse_server.transport.http.kana.paced_executor import PacedExecutor
from canuse_server.transport.http.kana.request import GraphqlRequest
from canuse_server.transport.http.kana.words import USE_GRPC
from canuse_server.transport.http.kana.work import Work

# Ariadne's log of errors has a traceback for each mistake of a caller.
_SILENT: Final = logging.getLogger(f"{__name__}.silent")
_SILENT.disabled = True

log = structlog.get_logger(__name__)

Info: TypeAlias = GraphQLResolveInfo[Work]
"""What a resolver gets; its context is the request."""
_TOO_LARGE: Final = "Int cannot represent non 32-bit signed integer value"


class Result(NamedTuple):
    """What is answered."""

    body: dict[str, Any]
    headers: dict[str, str]


class _BoundedExecutor(Executor[Work]):
    """Executes a document, and bounds what is answered."""

    def execute_field(self, *args: Any, **kwargs: Any) -> Any:
        """Execute a field."""
        self.context_value.count_field()
        return super().execute_field(*args, **kwargs)

    def handle_field_error(self, raw_error: Exception, return_type: Any, *args: Any, **kwargs: Any) -> None:
        """Add the error of a field to the answer, or to the object around it if the field cannot be null."""
        if is_non_null_type(return_type) or self.context_value.may_tell_error():
            super().handle_field_error(raw_error, return_type, *args, **kwargs)


class Api:
    """A schema that is executed."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._documents = Documents(schema)
        # Two: who sends large queries keeps nobody's small ones waiting.
        self._small, self._large = PacedExecutor("graphql-small"), PacedExecutor("graphql-large")

    async def execute(self, request: GraphqlRequest, work: Work) -> Result:
        """Return the answer to a request."""
        document = self._documents.find(request.query)
        if document is None:
            executor = self._small if self._documents.remembers(request.query) else self._large
            try:
                read = await executor.run(partial(self._documents.read, request.query))
            except KanaError as error:
                return Result({"errors": [error_fields(error)]}, {})
            if isinstance(read, list):
                return Result({"errors": [_formatted(error, VALIDATION_FAILED) for error in read]}, {})
            document = read
        return await self._execute(request, document, work)

    async def _execute(self, request: GraphqlRequest, document: Document, work: Work) -> Result:
        headers: dict[str, str] = {}

        def format_error(error: GraphQLError, debug: bool) -> dict[str, Any]:
            original = error.original_error
            if isinstance(original, ApiError) and original.retry_after_seconds is not None:
                headers["retry-after"] = str(math.ceil(original.retry_after_seconds))
            return _formatted(error, BAD_USER_INPUT)

        data = {"query": request.query, "variables": request.variables, "operationName": request.operation_name}
        options: dict[str, Any] = {
            "context_value": work,
            "query_document": document.node,
            "query_validator": _validated,
            "error_formatter": format_error,
            "logger": _SILENT,
            "execution_context_class": _BoundedExecutor,
        }
        if document.of_schema:
            _, body = await self._large.run(partial(graphql_sync, self._schema, data, **options))
        else:
            _, body = await graphql(self._schema, data, **options)
        return Result(body, headers)


def _validated(*_: Any, **__: Any) -> list[GraphQLError]:
    """Return the errors of a document that has been validated."""
    return []


def _formatted(error: GraphQLError, code: str) -> dict[str, Any]:
    """Return a GraphQL error as it is answered; log what only a defect can raise."""
    original = error.original_error
    while isinstance(original, GraphQLError):
        original = original.original_error
    if original is None:
        message = f"{error.message}; {USE_GRPC}" if _TOO_LARGE in error.message else error.message
        fields = error_fields(KanaError(message, code))
    elif isinstance(original, ApiError | KanaError):
        fields = error_fields(original)
    else:
        log.error("a GraphQL request failed with an internal error", path=error.path, exc_info=original)
        fields = error_fields(internal())
    if error.locations:
        fields["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path:
        fields["path"] = error.path
    return fields
