"""Binds commands to scripts: the arguments of a script by name, in the order of its header."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

from technopay.engine.commands import Command
from technopay.engine.record import to_ms
from technopay.storage.scripts.loader import Script

Argument = str | int
LEASE = ("owner", "token", "keep")
PERIODS = "periods"
WORD = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Binding:
    """The arguments of a script, from a command.

    Those of the lease follow if the script is for a wallet's actor, then the periods around the store's time.
    """

    script: Script
    result: Any
    """The type that the command returns; a page by its name, because each page type is a costly class."""
    values_of: Callable[[Any], tuple[Any, ...]]
    conversions: Sequence[tuple[int, Callable[[Any], Argument]]]
    is_many: bool
    takes_lease: bool
    is_dated: bool

    def arguments(self, command: Command[Any]) -> list[Argument]:
        values = list(self.values_of(command))
        for place, convert in self.conversions:
            values[place] = convert(values[place])
        if self.is_many:
            values[-1:] = _flatten(values[-1])
        return values


def bind(command_type: type[Command[Any]], scripts: Mapping[str, Script]) -> Binding:
    """Bind a command to the script of its name."""
    script = scripts[WORD.sub("_", command_type.__name__).lower()]
    own = [name for name in script.arguments if name != PERIODS]
    hints = get_type_hints(command_type)
    takes_lease = tuple(own[-3:]) == LEASE and "keep" not in hints
    if takes_lease:
        own = own[:-3]
    paths: dict[str, tuple[str, Any]] = {}
    for field in fields(command_type):
        hint = hints[field.name]
        if nested := getattr(hint, "_fields", None):
            parts = get_type_hints(hint)
            paths |= {part: (f"{field.name}.{part}", parts[part]) for part in nested}
        elif field.name in script.arguments:
            paths[field.name] = (field.name, hint)
        else:
            assert field.name == "partition", f"{script.name} has no argument {field.name}"
    assert set(own) == set(paths), f"{script.name} takes {own}, {command_type.__name__} has {list(paths)}"
    chosen = [paths[name] for name in own]
    converted = [(place, _conversion(hint)) for place, (_, hint) in enumerate(chosen)]
    (result,) = get_args(command_type.__orig_bases__[0])  # type: ignore[attr-defined]
    is_many = script.takes_many and script.arguments[-1] != PERIODS
    return Binding(
        script=script,
        result=getattr(result, "__forward_arg__", result),
        values_of=_getter([path for path, _ in chosen]),
        conversions=[
            (place, each) for place, each in converted if each and not (is_many and place == len(own) - 1)
        ],
        is_many=is_many,
        takes_lease=takes_lease,
        is_dated=PERIODS in script.arguments,
    )


def _getter(paths: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(paths) > 1:
        return attrgetter(*paths)
    return lambda command: tuple(attrgetter(path)(command) for path in paths)


def _conversion(hint: Any) -> Callable[[Any], Argument] | None:
    """Return the conversion of a type for scripts; None for text and whole numbers."""
    options: Collection[Any] = get_args(hint) if get_origin(hint) in (Union, type(str | None)) else (hint,)
    if datetime in options:
        return to_ms
    if bool in options:
        return _write_bool
    if get_origin(hint) is Sequence:
        return " ".join
    return _write_optional if type(None) in options else None


def _write_bool(value: bool | None) -> Argument:  # noqa: FBT001 - it writes one
    return "" if value is None else "1" if value else "0"


def _write_optional(value: Any) -> Argument:
    return "" if value is None else value


def _flatten(items: Sequence[Any]) -> list[Argument]:
    """Return the items of a sequence, or the fields of its items."""
    return [part for item in items for part in (item if isinstance(item, tuple) else (item,))]
