"""The types of arguments, judged by their annotations: in one place, before anything else of an operation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from technopay.engine.errors import FieldError, ValidationFailed

ClassT = TypeVar("ClassT", bound=type)

ALWAYS = {"start", "aclose"}
RULES = {
    str: "has to be text",
    int: "has to be a whole number",
    float: "has to be a number",
    bool: "has to be true or false",
    datetime: "has to be a time with its offset from UTC",
}


class Form:
    """What an annotation takes: no subclass of int (a bool, a member of an IntEnum), but any of str."""

    def __init__(self, annotation: Any) -> None:
        options = [annotation] if get_origin(annotation) is Literal else get_args(annotation) or [annotation]
        self.choices = [choice for option in options for choice in get_args(option)]
        types = [str if get_origin(option) is Literal else option for option in options]
        self.rule = f"has to be {' or '.join(self.choices)}" if self.choices else RULES[types[0]]
        self.types = frozenset([*types, *([int] if float in types else [])])
        self.plain_types = self.types - {str} if self.choices else self.types
        """The types of which every value is taken as it is."""

    def take(self, value: Any) -> Any:
        """Return the value, a text as a plain one.

        Raises:
            TypeError: it is not of this form.

        """
        if type(value) not in self.types:
            if str in self.types and isinstance(value, str):
                value = str.__str__(value)
            elif not (datetime in self.types and isinstance(value, datetime)):
                raise TypeError(self.rule)
        if self.choices and value is not None and value not in self.choices:
            raise TypeError(self.rule)
        return value


def require_type(name: str, value: object, annotation: Any) -> None:
    """Judge one argument of a constructor.

    Raises:
        TypeError: names it, and the rule.

    """
    try:
        Form(annotation).take(value)
    except TypeError as error:
        raise TypeError(f"{name} {error}") from None


def take_all(forms: Mapping[str, Form], arguments: dict[str, Any]) -> None:
    """Judge the arguments that are there.

    Raises:
        ValidationFailed: names each that is of a wrong type.

    """
    errors = []
    for name, value in arguments.items():
        if name in forms and type(value) not in forms[name].plain_types:
            try:
                arguments[name] = forms[name].take(value)
            except TypeError as error:
                errors.append(FieldError(name, str(error)))
    if errors:
        raise ValidationFailed(errors)


def checks_arguments(cls: ClassT) -> ClassT:
    """Judge, on every call of an operation, that the engine runs in this loop, then the arguments."""
    for name, method in inspect.getmembers(cls, inspect.iscoroutinefunction):
        parameters = list(inspect.signature(method).parameters.values())[1:]
        if name not in ALWAYS and name[0] != "_" and all(each.kind is each.KEYWORD_ONLY for each in parameters):
            setattr(cls, name, _checked(method, [each.name for each in parameters]))
    return cls


def _checked(method: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
    # Without the answer's type: to build a page of records takes longer than all else here.
    annotations = {name: method.__annotations__[name] for name in names}
    hints = get_type_hints(type("", (), {"__annotations__": annotations, "__module__": method.__module__}))
    forms = {name: Form(hint) for name, hint in hints.items()}

    @wraps(method)
    async def call(self: Any, **arguments: Any) -> Any:
        self.require_running()
        take_all(forms, arguments)
        return await method(self, **arguments)

    return call
