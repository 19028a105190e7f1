"""A catalogue's YAML file: reading it with its comments and line numbers, and writing it."""

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path as FilePath
from tempfile import NamedTemporaryFile
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from canuse_server.cli.catalog.schema import Path, problems_of
from canuse_server.cli.connection import Refused

MAX_PROBLEMS: Final = 20
"""Maximum number of problems that are told."""


class Unusable(Exception):  # noqa: N818 - it is an answer to the user
    """A file that cannot be used; `lines` say why, each with its place."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class CatalogFile:
    """A catalogue's file. `document` has its content in plain values, `root` the same with comments and places."""

    def __init__(self, path: FilePath, text: str | None = None) -> None:
        """Read a file; `text` stands for the content of one that does not exist yet.

        Raises:
            Refused: the file cannot be read.
            Unusable: its content is not a catalogue.
        """
        self.path = path
        try:
            text = _read(path) if text is None else text
            self.root = _yaml().load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise Unusable([f"{path}{line}: {' '.join(str(error.problem or error.context).split())}"]) from None
        except (YAMLError, ValueError) as error:
            raise Unusable([f"{path}: {' '.join(str(error).split())}"]) from None
        self._head = ""
        if self.root is None:
            self.root, self._head = CommentedMap(), text
        found: list[tuple[Path, str]] = []
        self.document = _plain(self.root, (), found)
        self.raise_for(found or list(problems_of(self.document)))

    def written(self) -> str:
        """Return the content as text."""
        stream = io.StringIO()
        _yaml().dump(self.root, stream)
        return self._head + stream.getvalue()

    def raise_for(self, problems: Iterable[tuple[Path, str]]) -> None:
        """Raise Unusable if there are problems, with the line of each."""
        places = sorted((self.line(place), ".".join(place), text) for place, text in problems)
        lines = [f"{self.path}:{line}: {place}{': ' if place else ''}{text}" for line, place, text in places]
        if lines:
            more = [f"{self.path}: and {len(lines) - MAX_PROBLEMS} more"] if len(lines) > MAX_PROBLEMS else []
            raise Unusable(lines[:MAX_PROBLEMS] + more)

    def line(self, place: Path) -> int:
        """Return the number of the line of a place, or of the nearest one around it that is in the file."""
        node, line = self.root, 1
        for key in place:
            if isinstance(node, CommentedMap) and key in node:
                with suppress(KeyError):  # It is from another place, by a YAML merge.
                    line = node.lc.key(key)[0] + 1
                node = node[key]
            elif isinstance(node, CommentedSeq) and key.isdigit():
                line, node = node.lc.item(int(key))[0] + 1, node[int(key)]
            else:
                break
        return line


def _read(path: FilePath) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{path}: not UTF-8") from error


def save(path: FilePath, text: str) -> None:
    """Replace a file in one step; raise Refused if that fails."""
    target = FilePath(os.path.realpath(path))
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else None
        with NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            file.write(text)
        os.chmod(file.name, 0o644 if mode is None else mode)
        os.replace(file.name, target)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _plain(node: Any, place: Path, problems: list[tuple[Path, str]]) -> Any:
    """Return a node in plain values; note keys that are not strings."""
    if isinstance(node, CommentedMap):
        keys = [key for key in node if not isinstance(key, str)]
        problems += [(place, f"the key {key!r} must be a string: put it in quotes") for key in keys]
        return {str(key): _plain(node[key], (*place, str(key)), problems) for key in node}
    if isinstance(node, list):
        return [_plain(item, (*place, str(index)), problems) for index, item in enumerate(node)]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node
