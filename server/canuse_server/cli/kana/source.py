"""Reading Kana's files: its configuration, and the answers of its Admin API to queries for the rest."""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from canuse import v1
from canuse_server.api.errors import ApiError
from canuse_server.cli.connection import Refused
from canuse_server.domain.subscriptions import ENDED
from canuse_server.kana.metadata import to_stored

STATUSES: Final = {
    name.removeprefix("SUBSCRIPTION_STATUS_"): number for name, number in v1.SubscriptionStatus.items() if number
}


class KanaUser(NamedTuple):
    """A user."""

    id: str
    name: str
    email: str
    billing_id: str
    metadata: dict[str, str]


class KanaSubscription(NamedTuple):
    """A subscription that has not ended."""

    user_id: str
    package_id: str
    status: v1.SubscriptionStatus.ValueType


class KanaUsage(NamedTuple):
    """What a user has used of a feature in the current period."""

    user_id: str
    feature_id: str
    used: int


class Source(NamedTuple):
    """The content of the files, and what is wrong with them."""

    config: dict[str, Any]
    features: dict[str, dict[str, Any]]
    """What the Admin API says of features beyond the configuration, by id."""
    packages: dict[str, dict[str, Any]]
    """The same of packages."""
    users: list[KanaUser]
    subscriptions: list[KanaSubscription]
    usage: list[KanaUsage]
    problems: list[str]


def read_files(paths: Iterable[Path]) -> Source:
    """Read files; raise Refused where one can't be read."""
    source = Source({}, {}, {}, [], [], [], [])
    for path in paths:
        document = _load(path)
        found = document.get("data") if isinstance(document.get("data"), dict) else document
        assert isinstance(found, dict)
        _Reader(source, str(path)).read(found)
    return source


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        loaded = YAML(typ="safe", pure=True).load(io.StringIO(text))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise Refused(f"{path}{line}: {' '.join(str(error.problem or error.context).split())}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise Refused(f"{path}: neither YAML nor JSON") from error
    loaded = _as_json(loaded, path)
    if not isinstance(loaded, dict):
        raise Refused(f"{path}: must be a configuration of Kana, or an answer of its Admin API")
    return loaded


def _as_json(loaded: Any, path: Path) -> Any:
    """Return what JSON makes of YAML; raise Refused where it has no such value."""
    try:
        text = json.dumps(loaded, ensure_ascii=False, allow_nan=False)
        text.encode()
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"{path}: must have only values that JSON has; write a date as a text, in quotes") from error


class _Reader:
    """Adds the content of a file to a source."""

    def __init__(self, source: Source, path: str) -> None:
        self._source = source
        self._path = path

    def read(self, found: Mapping[str, Any]) -> None:
        """Read a document. The configuration has its packages by status, an answer of the API has them in a list."""
        source = self._source
        if isinstance(found.get("packages"), dict) or "version" in found:
            if source.config:
                self._wrong("there is another configuration already: give the file of kana pull once")
                return
            source.config.update(found)
        else:
            for name, into in (("features", source.features), ("packages", source.packages)):
                for where, item in self._items(name, found.get(name)):
                    if item_id := self._text(where, item, "id"):
                        into[item_id] = {**item, "metadata": self._metadata(where, item)}
        for where, item in self._items("users", found.get("users")):
            if user_id := self._text(where, item, "id"):
                name, email, billing_id = (
                    self._text(where, item, field, needed=False) for field in ("name", "email", "billingId")
                )
                source.users.append(KanaUser(user_id, name, email, billing_id, self._metadata(where, item)))
        for where, item in self._items("subscriptions", found.get("subscriptions")):
            self._add_subscription(where, item)
        for where, item in self._items("usage", found.get("usage")):
            user_id, feature_id = self._text(where, item, "userId"), self._text(where, item, "featureId")
            used = item.get("used")
            if not isinstance(used, int) or isinstance(used, bool) or used < 0:
                self._wrong(f"{where}.used: must be a whole number from 0")
            elif user_id and feature_id:
                source.usage.append(KanaUsage(user_id, feature_id, used))

    def _add_subscription(self, where: str, item: dict[str, Any]) -> None:
        package = item.get("package")
        user_id, status = self._text(where, item, "userId"), self._text(where, item, "status")
        package_id = self._text(f"{where}.package", package if isinstance(package, dict) else {}, "id")
        if status and status not in STATUSES:
            self._wrong(f"{where}.status: {status!r} is unknown")
        elif user_id and package_id and status and int(STATUSES[status]) not in ENDED:
            self._source.subscriptions.append(KanaSubscription(user_id, package_id, STATUSES[status]))

    def _items(self, name: str, sent: Any) -> Iterable[tuple[str, dict[str, Any]]]:
        if sent is None:
            return
        if not isinstance(sent, list):
            self._wrong(f"{name}: must be a list")
            return
        for index, item in enumerate(sent):
            if isinstance(item, dict):
                yield f"{name}[{index}]", item
            else:
                self._wrong(f"{name}[{index}]: must be an object")

    def _text(self, where: str, item: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
        """Return a text, empty where there is none."""
        found = item.get(name)
        if isinstance(found, str) and (found or not needed):
            return found
        if needed or found is not None:
            self._wrong(f"{where}.{name}: must be a string")
        return ""

    def _metadata(self, where: str, item: Mapping[str, Any]) -> dict[str, str]:
        try:
            return to_stored(item.get("metadata"))
        except ApiError as error:
            self._wrong(f"{where}.{error.message}")
            return {}

    def _wrong(self, problem: str) -> None:
        self._source.problems.append(f"{self._path}: {problem}")
