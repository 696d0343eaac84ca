"""The rules of forms in the words of this API: pydantic's own name Python's types and regular expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

WORDS = {
    "value_error": "{error}",
    "extra_forbidden": "is not known here",
    "missing": "is missing",
    "model_type": "has to be an object",
    "string_type": "has to be a text",
    "string_too_long": "has to have at most {max_length} characters",
    "bool_type": "has to be true or false",
    "bool_parsing": "has to be true or false",
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
    "literal_error": "has to be {expected}",
}
"""What a rule is called here, by the type of pydantic's error, with what belongs to that error."""


def rule_in_words(problem: ErrorDetails) -> str:
    """Say which rule a value breaks; one that has no words here in pydantic's."""
    words = WORDS.get(problem["type"])
    return problem["msg"] if words is None else words.format(**problem.get("ctx", {}))
