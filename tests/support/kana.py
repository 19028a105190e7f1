"""A caller of Kana's GraphQL APIs."""

from typing import Any

import httpx

ADMIN = "/graphql"
CLIENT = "/client/graphql"


class Kana:
    """Sends GraphQL requests as Kana's clients do."""

    def __init__(self, http: httpx.Client, path: str = ADMIN, headers: dict[str, str] | None = None) -> None:
        self._http = http
        self._path = path
        self._headers = headers or {}

    def post(self, query: str, variables: Any = None, **more: Any) -> httpx.Response:
        """Send a request and return the answer."""
        body = {"query": query, "variables": variables, **more}
        return self._http.post(self._path, json=body, headers=self._headers)

    def ask(self, query: str, variables: Any = None) -> Any:
        """Return the data of an answer without errors."""
        answer = self.post(query, variables)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert body.keys() == {"data"}, body
        return body["data"]

    def error(self, query: str, variables: Any = None) -> dict[str, Any]:
        """Return the only error of an answer."""
        answer = self.post(query, variables)
        assert answer.status_code == 200
        [error] = answer.json()["errors"]
        assert error["extensions"]["exception"]["message"] == error["message"]
        found: dict[str, Any] = error
        return found

    def message(self, query: str, variables: Any = None) -> str:
        """Return the message of the only error of an answer."""
        message: str = self.error(query, variables)["message"]
        return message
