"""A visitor of the console without a browser: keeps the cookie, sends forms with their token, reads pages."""

import html
import re
from html.parser import HTMLParser
from typing import Any

import httpx

VOID = frozenset({"meta", "link", "input", "img", "br", "hr", "rect", "line", "path"})


class Parsed(HTMLParser):
    """A page as a browser reads it: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        self._text.append(data)

    @property
    def text(self) -> str:
        """Its text, with single spaces, also between elements."""
        return " ".join(" ".join(self._text).split())

    def attributes(self, tag: str, name: str) -> list[str]:
        """Return the values of an attribute of all elements of a kind."""
        return [value for found, attributes in self.elements if found == tag and (value := attributes.get(name))]


class Visitor:
    """A visitor of the console of a server."""

    def __init__(self, url: str, **options: Any) -> None:
        self.http = httpx.Client(base_url=url, timeout=60, **options)

    def get(self, path: str, **query: str) -> httpx.Response:
        """Open a page; redirects are not followed."""
        return self.http.get(f"/console{path}", params=query or None)

    def page(self, path: str, **query: str) -> Parsed:
        """Open a page that is there."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return Parsed(answer.text)

    def post(self, path: str, headers: dict[str, str] | None = None, /, **fields: str) -> httpx.Response:
        """Send a form with the visitor's token."""
        return self.http.post(f"/console{path}", data={"token": self.token(), **fields}, headers=headers)

    def token(self) -> str:
        """Return the token that the visitor's forms have."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.get("/login").text)
        assert found
        return found[1]

    def log_in(self, secret: str, to: str = "") -> httpx.Response:
        """Log in with an API key."""
        return self.post("/login", api_key=secret, to=to)

    def pages(self) -> list[str]:
        """Return the titles in the navigation."""
        text = self.get("").text
        found = re.search(r'<nav aria-label="Pages">(.*?)</nav>', text, re.DOTALL)
        return [html.unescape(title) for title in re.findall(r">([^<]+)</a>", found[1])] if found else []

    def close(self) -> None:
        """Close the connection."""
        self.http.close()
