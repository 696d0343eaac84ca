"""Makes functions operations of the engine: arguments are checked by their annotations, refusals are listed."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import wraps
from typing import (
    Annotated,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from technopay.engine.errors import REFUSALS, ArchiveUnavailable, FieldError, TechnopayError, ValidationFailed
from technopay.engine.fields import UNSET, Rule

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, Result]]

RULES = {
    str: "has to be text",
    int: "has to be a whole number",
    float: "has to be a number",
    bool: "has to be true or false",
    datetime: "has to be a time with its offset from UTC",
    dict: "has to be an object of texts",
}
ERRORS: Mapping[str, type[TechnopayError]] = {**REFUSALS, ArchiveUnavailable.code: ArchiveUnavailable}
ITEMS: Mapping[type, str] = {str: "texts"}
"""The names of the items of lists, where they are no records."""


class Form:
    """The values of an annotation: no subclass of int (a bool, a member of an IntEnum), but any of str."""

    def __init__(self, annotation: Any) -> None:
        options = [annotation]
        if get_origin(annotation) not in (Literal, Annotated):
            options = list(get_args(annotation)) or options
        self.rules: list[Callable[[Any], str | None]] = []
        """Further rules; each returns an error or None."""
        self.item_type: type | None = None
        """The type of the items of a list."""
        for place, option in enumerate(options):
            kind, *metadata = get_args(option) if get_origin(option) is Annotated else [option]
            self.rules += [each.error for each in metadata if isinstance(each, Rule)]
            if get_origin(kind) is list:
                [self.item_type] = get_args(kind)
            options[place] = kind if get_origin(kind) is Literal else get_origin(kind) or kind
        self.choices = [choice for option in options for choice in get_args(option)]
        types = [str if get_origin(option) is Literal else option for option in options]
        if self.choices:
            self.rule = f"has to be {' or '.join(self.choices)}"
        elif self.item_type:
            self.rule = f"has to be a list of {ITEMS.get(self.item_type, self.item_type.__name__)}"
        else:
            self.rule = RULES[types[0]]
        self.types = frozenset([*types, *([int] if float in types else [])])
        self.plain_types = self.types - {str} if self.choices else self.types - {list}
        """The types of which every value is valid as it is."""

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
        if type(value) is list and not all(type(item) is self.item_type for item in value):
            raise TypeError(self.rule)
        return value


def require_type(name: str, value: object, annotation: Any) -> None:
    """Check one argument of a constructor.

    Raises:
        TypeError: names it, and the rule.

    """
    try:
        Form(annotation).take(value)
    except TypeError as error:
        raise TypeError(f"{name} {error}") from None


def take_all(forms: Mapping[str, Form], arguments: dict[str, Any]) -> None:
    """Check the given arguments: the type of each, then its rules.

    Raises:
        ValidationFailed: names each that is wrong.

    """
    errors = []
    for name, value in arguments.items():
        form = forms.get(name)
        if form is None:
            continue
        if type(value) not in form.plain_types:
            try:
                value = arguments[name] = form.take(value)
            except TypeError as error:
                errors.append(FieldError(name, str(error)))
                continue
        if value is not None and value is not UNSET:
            errors += [FieldError(name, wrong) for error_of in form.rules if (wrong := error_of(value))]
    if errors:
        raise ValidationFailed(errors)


def operation(
    codes: str = "",
) -> Callable[[Function[Arguments, Result]], Function[Arguments, Result]]:
    """Make a function of the runtime a method of Engine; `codes` are those of the errors that it can raise.

    These are refusals, and the fault of operations that read history. All other faults come from any operation.
    Every call checks first whether the engine runs in this loop, then the arguments.
    """
    errors = tuple(ERRORS[code] for code in codes.split())

    def decorate(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
        # The type of the result is left out: building a page model takes longer than all the rest.
        names = list(inspect.signature(function).parameters)[1:]
        annotations = {name: function.__annotations__[name] for name in names}
        owner = type("", (), {"__annotations__": annotations, "__module__": function.__module__})
        forms: dict[str, Form] = {}
        perform: Callable[..., Coroutine[Any, Any, Result]] = function

        @wraps(function)
        async def call(engine: Any, /, *_: Arguments.args, **arguments: Arguments.kwargs) -> Result:
            if not forms and annotations:
                forms.update(
                    {name: Form(hint) for name, hint in get_type_hints(owner, include_extras=True).items()}
                )
            runtime = engine._runtime  # noqa: SLF001 - a method of Engine
            runtime.require_running()
            take_all(forms, arguments)
            return await perform(runtime, **arguments)

        raises = ", ".join([error.__name__ for error in errors])
        call.__doc__ = f"{function.__doc__}\n\nRaises:\n    {raises}{'; ' if raises else ''}any Fault.\n"
        call.__qualname__ = f"Engine.{function.__name__}"
        call.errors = errors  # type: ignore[attr-defined]
        return call

    return decorate
