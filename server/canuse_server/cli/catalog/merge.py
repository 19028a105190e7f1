"""Changes a catalogue's file in place: what does not change keeps its comments, order and form.

A comment belongs to what follows it. ruamel.yaml keeps it with what comes before, so it is moved when that changes.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

DEFAULTS: Final[Mapping[str, object]] = {
    "name": "",
    "unit_label": "",
    "unit_label_plural": "",
    "on_unavailable": "deny",
    "archived": False,
    "type": "base",
    "status": "published",
    "overage_enabled": False,
    "reset_period": "never",
    "per": "never",
    "metadata": {},
    "features": {},
}
"""What a missing key means: such a key may stay although it says nothing."""
_AFTER: Final = 2
"""Where ruamel.yaml keeps the comments after a key's value."""
_BEFORE: Final = 1


class Merged(NamedTuple):
    """The ids of the items that were added, changed and removed."""

    added: list[str]
    changed: list[str]
    removed: list[str]


def merge_section(
    root: CommentedMap, name: str, current: Mapping[str, object], wanted: Mapping[str, dict[str, Any]]
) -> Merged:
    """Make a section of a file what it is to be; `current` are its items in the form of `wanted`."""
    section = root.get(name)
    merged = Merged([], [], [])
    if not isinstance(section, CommentedMap):
        section = CommentedMap()
        if wanted:
            _put(root, name, section)
    for item_id in [item_id for item_id in section if item_id not in wanted]:
        _remove(section, item_id)
        merged.removed.append(item_id)
    for item_id, values in wanted.items():
        if item_id not in section:
            _put(section, item_id, _node(values))
            merged.added.append(item_id)
        elif current[item_id] != values:
            _merge(section, item_id, values)
            merged.changed.append(item_id)
    return merged


def _merge(parent: CommentedMap, key: str, values: dict[str, Any]) -> None:
    node = parent[key]
    if not isinstance(node, CommentedMap):
        _put(parent, key, _node(values))
        return
    names = {("per" if name == "reset_period" and "per" in node else name): value for name, value in values.items()}
    for name in [name for name in node if name not in names and node[name] != DEFAULTS.get(name)]:
        _remove(node, name)
    for name, value in names.items():
        if isinstance(value, dict) and isinstance(node.get(name), CommentedMap):
            _merge(node, name, value)
        elif name not in node or (node[name] != value and (node[name], value) != (None, {})):
            _put(node, name, _node(value))


def _node(value: Any) -> Any:
    """Return plain values as nodes: in one line what has no further level."""
    if not isinstance(value, dict):
        return value
    node = CommentedMap({name: _node(each) for name, each in value.items()})
    if not value or (not any(isinstance(each, dict) for each in value.values()) and "type" not in value):
        node.fa.set_flow_style()
    return node


def _put(parent: CommentedMap, key: str, value: Any) -> None:
    """Set a key; a new one comes last, before the comments that follow."""
    before = _last_leaf(parent, key if key in parent else None)
    following = _take_following(before)
    parent[key] = value
    _give_following(_last_leaf(parent, key), following)


def _remove(parent: CommentedMap, key: str) -> None:
    """Remove a key; the comments that follow it stay, and those before it, which are kept with the key before it."""
    following = _take_following(_last_leaf(parent, key))
    keys = list(parent)
    index = keys.index(key)
    del parent[key]
    parent.ca.items.pop(key, None)
    if index:
        _give_following(_last_leaf(parent, keys[index - 1]), following)
    elif following and len(keys) > 1:
        slots = parent.ca.items.setdefault(keys[1], [None, None, None, None])
        slots[_BEFORE] = [CommentToken(following, CommentMark(0), None), *(slots[_BEFORE] or [])]


def _last_leaf(parent: CommentedMap, key: str | None) -> tuple[CommentedMap, str] | None:
    """Return the map and the key of the last value within a key, or without one within the map."""
    while True:
        if key is None:
            if not parent:
                return None
            key = list(parent)[-1]
        value = parent[key]
        if not isinstance(value, CommentedMap) or not value or value.fa.flow_style():
            return parent, key
        parent, key = value, None


def _take_following(leaf: tuple[CommentedMap, str] | None) -> str:
    """Remove the comments on the lines after a value and return them; one on its own line stays."""
    if leaf is None:
        return ""
    node, key = leaf
    slots = node.ca.items.get(key)
    token = slots[_AFTER] if slots else None
    if token is None:
        return ""
    own, _, following = token.value.partition("\n")
    if own.strip():
        token.value = f"{own}\n"
    else:
        slots[_AFTER] = None
    return str(following)


def _give_following(leaf: tuple[CommentedMap, str] | None, following: str) -> None:
    """Put comments on the lines after a value."""
    if leaf is None or not following:
        return
    node, key = leaf
    slots = node.ca.items.setdefault(key, [None, None, None, None])
    if slots[_AFTER] is None:
        slots[_AFTER] = CommentToken("\n", CommentMark(0), None)
    slots[_AFTER].value += following
