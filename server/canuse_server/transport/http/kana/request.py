"""Reading a GraphQL request: JSON whatever its content type says, and variables also as a text that holds JSON."""

from typing import Any, Final, NamedTuple

from canuse_server.api.errors import ApiError
from canuse_server.transport.http.json_object import check_plain, kind, read_object
from canuse_server.transport.http.kana.errors import BAD_USER_INPUT, KanaError

MAX_BODY_BYTES: Final = 256 << 10
MAX_VALUES: Final = 10_000
"""Maximum number of values in a request."""
FORM: Final = 'a JSON object with a "query"'
VARIABLES_FORM: Final = "a JSON object, also as a text"


class GraphqlRequest(NamedTuple):
    """What is to be executed."""

    query: str
    variables: dict[str, Any]
    operation_name: str | None


def read_request(body: bytes) -> GraphqlRequest:
    """Return the request in a body; raise KanaError where it is none."""
    if body.lstrip().startswith(b"["):
        raise KanaError("batches are not accepted: send one operation in a request")
    fields = _object(body, FORM, "request")
    query, operation_name = fields.get("query"), fields.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise KanaError(f"query: must be a GraphQL query as a string; {_sent(fields, 'query')} was sent")
    if operation_name is not None and not isinstance(operation_name, str):
        raise KanaError(f"operationName: must be a string; {kind(operation_name)} was sent")
    # An empty name is none, as some clients send it.
    return GraphqlRequest(query, _variables(fields.get("variables")), operation_name or None)


def _variables(sent: Any) -> dict[str, Any]:
    if sent is None or sent == "":
        return {}
    if isinstance(sent, str):
        if sent.strip() == "null":
            return {}
        return _object(sent.encode(errors="surrogatepass"), VARIABLES_FORM, "variables")
    if not isinstance(sent, dict):
        raise KanaError(f"variables: must be {VARIABLES_FORM}; {kind(sent)} was sent")
    return sent


def _object(body: bytes, form: str, name: str) -> dict[str, Any]:
    try:
        fields = read_object(body, form, MAX_VALUES)
        check_plain(fields, form)
    except ApiError as error:
        field, text = error.violations[0]
        raise KanaError(f"{name if field == 'request' else field}: {text}", BAD_USER_INPUT) from None
    return fields


def _sent(fields: dict[str, Any], name: str) -> str:
    return kind(fields[name]) if name in fields else "nothing"
