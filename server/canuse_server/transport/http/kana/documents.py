"""Documents of GraphQL, parsed and validated; those that were sent before are remembered."""

from collections import OrderedDict
from typing import Any, Final, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    NameNode,
    SelectionSetNode,
    Visitor,
    parse,
    validate,
    visit,
)

from canuse_server.transport.http.kana.bounds import check_document
from canuse_server.transport.http.kana.errors import PARSE_FAILED, KanaError

MAX_TOKENS: Final = 10_000
MAX_ERRORS: Final = 5
"""How many errors of a document are told."""
MAX_REMEMBERED: Final = 100
MAX_REMEMBERED_LENGTH: Final = 2000
"""Longer documents are not remembered."""
IMPLIED: Final = {"generateUserToken": "token"}
"""What is selected of mutations that Kana's documentation also shows without a selection."""


class Document(NamedTuple):
    """A valid document."""

    node: DocumentNode
    of_schema: bool
    """Whether it asks for the schema, and for nothing else."""


class Documents:
    """The documents of a schema. It is used from two threads: an entry is only ever added or removed."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._remembered: OrderedDict[str, Document] = OrderedDict()

    def find(self, text: str) -> Document | None:
        """Return a document that was read before."""
        return self._remembered.get(text)

    def remembers(self, text: str) -> bool:
        """Whether a document is small enough to be remembered."""
        return len(text) <= MAX_REMEMBERED_LENGTH

    def read(self, text: str) -> Document | list[GraphQLError]:
        """Return a valid document, or what is wrong with it; raise KanaError where it is too large or no GraphQL."""
        try:
            node = parse(text, max_tokens=MAX_TOKENS)
            of_schema = check_document(node)
            if any(name in text for name in IMPLIED):
                node = visit(node, _Implied())
            errors = validate(self._schema, node, max_errors=MAX_ERRORS)
        except GraphQLError as error:
            raise KanaError(error.message, PARSE_FAILED) from None
        except RecursionError:
            raise KanaError("the query has too many levels", PARSE_FAILED) from None
        if errors:
            return errors
        document = Document(node, of_schema)
        if self.remembers(text):
            self._remembered[text] = document
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return document


class _Implied(Visitor):
    """Selects what is implied."""

    def enter_field(self, field: FieldNode, *_: Any) -> FieldNode | None:
        """Return a field with its selection; None where nothing is implied."""
        implied = IMPLIED.get(field.name.value)
        if implied is None or field.selection_set is not None:
            return None
        return FieldNode(
            alias=field.alias,
            name=field.name,
            arguments=field.arguments,
            directives=field.directives,
            selection_set=SelectionSetNode(selections=(FieldNode(name=NameNode(value=implied)),)),
            loc=field.loc,
        )
