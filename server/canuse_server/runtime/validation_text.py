"""What pydantic says of a value, in the words of canuse's own messages."""

import re
from collections.abc import Mapping
from typing import Any, Final

_TEXTS: Final = {
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number with fewer digits",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}
_SHOULD: Final = re.compile(r"^(Input|String|Value) should ")


def what_is_accepted(problem: Mapping[str, Any]) -> str:
    """Return what a value must be, from one of the errors of a ValidationError."""
    if text := _TEXTS.get(problem["type"]):
        bounds = {name: f"{bound:,.15g}" for name, bound in problem.get("ctx", {}).items()}
        return text.format_map(bounds)
    return _SHOULD.sub("must ", problem["msg"].removeprefix("Value error, ").removesuffix("."))
