"""The bounds of a document, checked before it is validated: validating costs time by the square of what is repeated."""

from collections.abc import Iterable, Mapping
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from canuse_server.transport.http.kana.errors import VALIDATION_FAILED, KanaError

MAX_DEPTH: Final = 20
MAX_ALIASES: Final = 200
MAX_FIELDS: Final = 2000
"""Maximum number of fields, those of a fragment counted each time that it is used."""
MAX_REPEATS: Final = 20
"""How many times a field may be selected in the same place."""
MAX_INTROSPECTIONS: Final = 3
MAX_SPREADS: Final = 300
"""Maximum number of fragments that are used."""


def check_document(document: DocumentNode) -> bool:
    """Return whether a document asks for the schema; raise KanaError if it asks for other things too, or is too large.

    The schema is a large answer that is made at once, so it is made in another thread, where nothing else is.
    """
    defined = [each for each in document.definitions if isinstance(each, FragmentDefinitionNode)]
    measure = _Measure({each.name.value: each for each in defined})
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            measure.add([definition.selection_set], 1)
    _check_all_measured(defined, measure.used)
    if not measure.introspections:
        return False
    if measure.root_names <= {"__schema", "__type", "__typename"}:
        return True
    raise KanaError(
        "the query asks for the schema and for other things: ask for the schema by itself", VALIDATION_FAILED
    )


def _check_all_measured(defined: Iterable[FragmentDefinitionNode], used: set[str]) -> None:
    """Raise KanaError if a fragment is not part of what was measured: the validation reads it all the same."""
    unread = set(used)
    for name in (fragment.name.value for fragment in defined):
        if name not in unread:
            problem = "is defined more than once" if name in used else "is not used"
            raise KanaError(f"the fragment {name[:64]!r} {problem}", VALIDATION_FAILED)
        unread.remove(name)


class _Measure:
    """Counts what is in operations, as it is executed: fields of the same name in the same place are one."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._aliases = self._fields = self._spreads = 0
        self.introspections = 0
        """How many fields ask for the schema."""
        self.root_names: set[str] = set()
        """What the operations ask for."""
        self.used: set[str] = set()
        """The fragments that the operations use."""

    def add(self, sets: Iterable[SelectionSetNode], depth: int) -> None:
        """Count what is selected in one place; raise KanaError where it is too much."""
        _bound(depth, MAX_DEPTH, "levels")
        by_name: dict[str, list[FieldNode]] = {}
        for selected in sets:
            self._collect(selected, by_name, set())
        for name, fields in by_name.items():
            if depth == 1:
                self.root_names.update(field.name.value for field in fields)
            _bound(len(fields), MAX_REPEATS, f"times the field {name[:64]!r} in one place")
            nested = [field.selection_set for field in fields if field.selection_set is not None]
            if nested:
                self.add(nested, depth + 1)

    def _collect(self, selected: SelectionSetNode, by_name: dict[str, list[FieldNode]], used: set[str]) -> None:
        for node in selected.selections:
            if isinstance(node, FieldNode):
                self._count(node)
                by_name.setdefault((node.alias or node.name).value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                self._count_spread()
                self._collect(node.selection_set, by_name, used)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in used:
                self._count_spread()
                used.add(node.name.value)
                self.used.add(node.name.value)
                # An unknown one is an error of the validation.
                if fragment := self._fragments.get(node.name.value):
                    self._collect(fragment.selection_set, by_name, used)

    def _count(self, field: FieldNode) -> None:
        self._fields += 1
        self._aliases += field.alias is not None
        self.introspections += field.name.value in ("__schema", "__type")
        _bound(self._fields, MAX_FIELDS, "fields")
        _bound(self._aliases, MAX_ALIASES, "aliases")
        _bound(self.introspections, MAX_INTROSPECTIONS, "introspections")

    def _count_spread(self) -> None:
        self._spreads += 1
        _bound(self._spreads, MAX_SPREADS, "fragments")


def _bound(number: int, maximum: int, what: str) -> None:
    if number > maximum:
        raise KanaError(f"the query has more than {maximum} {what}", VALIDATION_FAILED)
