"""The forms of the console without a browser: what they contain, sending them, and what the audit log has after."""

import html
import re
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import httpx

from canuse import v1
from support.console import Parsed, Visitor
from support.message_clients import Client


class Sent:
    """A form as a browser has it: its fields with what they contain, to be filled in and sent."""

    def __init__(self, visitor: Visitor, path: str, **query: str) -> None:
        self._visitor = visitor
        self.path, self.query = path, query
        answer = visitor.get(path, **query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {Parsed(answer.text).text}"
        self.text = Parsed(answer.text).text
        self.fields = fields(answer.text)

    def send(self, **typed: str) -> httpx.Response:
        """Fill it in and send it."""
        assert set(typed) <= set(self.fields), self.fields
        data = {name: value for name, value in {**self.fields, **typed}.items() if value is not None}
        return self._visitor.http.post(f"/console{self.path}", params=self.query, data=data)


def fields(text: str) -> dict[str, str | None]:
    """Return the fields of the form of a page with their values; None: a box that is not checked."""
    [form] = re.findall(r"<form[^>]* data-once[^>]*>(.*?)</form>", text, re.DOTALL)
    found: dict[str, str | None] = {}
    for tag, attributes in Parsed(form).elements:
        name = attributes.get("name")
        if name and tag in ("input", "select", "textarea"):
            is_box = attributes.get("type") == "checkbox"
            found[name] = attributes.get("value") or "" if not is_box else "on" if "checked" in attributes else None
    for name, body in re.findall(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body)
        found[name] = html.unescape(chosen[1]) if chosen else ""
    for name, body in re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        found[name] = html.unescape(body).removeprefix("\n")
    return found


def wrong_fields(answer: httpx.Response) -> list[str]:
    """Return the names of the fields that a form is refused for."""
    return [each["name"] or "" for _, each in Parsed(answer.text).elements if each.get("aria-invalid")]


def done(answer: httpx.Response, code: str) -> None:
    """Check that an action was done, and that the page after it says so."""
    assert answer.status_code == 303, Parsed(answer.text).text
    assert parse_qs(urlsplit(answer.headers["location"]).query)["done"] == [code]


def audited(client: Client, method: str, user_id: str = "") -> list[v1.AuditEntry]:
    """Return the audit log's newest entries of a method."""
    return list(islice(client.list_audit_entries(method=method or None, user_id=user_id or None), 20))
