"""The options of a verb, made of the parameters of its method, and the arguments made of them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from technopay.cli.admin.verbs import Verb
from technopay.cli.settings import UsageError
from technopay.engine.fields import Unset
from technopay.http.api.fields import FIELDS, NO_SPEC
from technopay.http.app import API_ROUTES

LISTED_MAX = 1_000
FLAGS = {
    "user_id": "--user", "wallet_id": "--wallet", "invoice_id": "--invoice", "payment_id": "--payment",
    "created_from": "--from", "created_to": "--to", "at_from": "--from", "at_to": "--to", "url": "--endpoint",
}  # fmt: skip
"""The flags of parameters with another name; the others have their own."""


def parameters_of(verb: Verb) -> list[inspect.Parameter]:
    """Return the parameters of a verb's command, in typer's form."""
    found = [each for parameter in _own(verb) for each in _made(parameter, verb)]
    return sorted(found, key=lambda each: each.name != verb.argument)


def arguments_of(verb: Verb, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a verb's method; what is not given keeps its default.

    Raises:
        UsageError: an option is missing or wrong.

    """
    arguments: dict[str, Any] = {}
    for parameter in _own(verb):
        name, value = parameter.name, given[parameter.name]
        if given.get(f"no_{name}"):
            if value is not None:
                raise UsageError(f"{_flag(name)} and {_flag(name, 'no-')} exclude each other")
            arguments[name] = None
        elif value is not None and value != []:
            arguments[name] = _value_of(parameter, value)
        elif parameter.default is inspect.Parameter.empty:
            raise UsageError(f"{_flag(name)} or {_flag(name, 'no-')} is missing")
    return arguments


def _value_of(parameter: inspect.Parameter, value: Any) -> Any:
    if isinstance(value, list):
        return _pairs(parameter.name, value)
    is_sequence = any(get_origin(each) is Sequence for each in get_args(parameter.annotation))
    return value.split(",") if is_sequence else value


def is_list(verb: Verb) -> bool:
    """Whether a verb lists records, page by page."""
    return "cursor" in inspect.signature(verb.function).parameters


def _own(verb: Verb) -> list[inspect.Parameter]:
    return list(inspect.signature(verb.function).parameters.values())[1:]  # without the client


def _made(parameter: inspect.Parameter, verb: Verb) -> Iterator[inspect.Parameter]:
    """Make the typer parameters of a method's parameter: a second one where None has a meaning."""
    name, kinds = parameter.name, get_args(parameter.annotation)
    options = [parameter.annotation] if get_origin(parameter.annotation) in (None, Literal, dict) else kinds
    kind = next(each for each in options if each not in (NoneType, Unset))
    is_required = parameter.default is inspect.Parameter.empty
    is_clearable = Unset in options or (is_required and NoneType in options)
    text = _help(name, verb)
    if name == verb.argument:
        yield _parameter(name, str, typer.Argument(metavar=name.removesuffix("_id").upper()))
    elif name == "limit":
        limits: Any = typer.Option(_flag(name), min=1, max=LISTED_MAX, help="How many to list.")
        yield _parameter(name, int, limits, 20)
    elif kind is bool:
        yield _parameter(
            name, bool | None, typer.Option(f"{_flag(name)}/{_flag(name, 'no-')}", help=text), None
        )
    elif get_origin(kind) is dict:
        pairs: Any = typer.Option(_flag(name), metavar="NAME=VALUE", help=f"{text}; may be repeated.")
        yield _parameter(name, list[str] | None, pairs, None)
    elif kind is datetime:
        times: Any = typer.Option(_flag(name), parser=read_time, metavar="TIME", help=text)
        yield _parameter(name, datetime if is_required else datetime | None, times, *_default(is_required))
    elif get_origin(kind) is Sequence:
        yield _parameter(name, str | None, typer.Option(_flag(name), help=text), None)
    else:
        required = is_required and not is_clearable
        plain = typer.Option(_flag(name), help=text)
        yield _parameter(name, kind if required else kind | None, plain, *_default(required))
    if is_clearable:
        yield _parameter(f"no_{name}", bool, typer.Option(_flag(name, "no-"), help="Set none."), False)


def _default(is_required: bool) -> tuple[Any, ...]:
    return () if is_required else (None,)


def _parameter(name: str, kind: Any, info: Any, *default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default[0] if default else inspect.Parameter.empty,
        annotation=Annotated[kind, info],
    )


def _flag(name: str, prefix: str = "") -> str:
    return FLAGS.get(name, f"--{name.replace('_', '-')}").replace("--", f"--{prefix}", 1)


def _help(name: str, verb: Verb) -> str:
    """Return the description of a parameter in the API, by the route of the same operation."""
    operation = verb.function.__name__
    own = next((each.fields for each in API_ROUTES if each.operation.__name__ == operation), {})
    return (own.get(name) or FIELDS.get(name) or NO_SPEC).description


def read_time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter("has to be a time with an offset, like 2036-01-01T00:00:00Z")
    return at


def _pairs(name: str, items: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in items]
    if not all(separator for _, separator, _ in pairs) or len({key for key, _, _ in pairs}) < len(pairs):
        raise UsageError(f"{_flag(name)} has to be NAME=VALUE, each name once")
    return {key: value for key, _, value in pairs}
