"""Loads the Lua scripts: one file per operation, in folders by noun; shared functions are in `shared/`.

A script begins with its header, `-- name(argument, argument, many...) flag`. The loader makes local variables
of the arguments; with the flag `recorded`, a repeat returns the recorded reply before the script begins. A
server gets all scripts as functions of one library; a fake gets each one with its shared parts.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from technopay.engine.events.subjects import EVENT_TYPES
from technopay.engine.limits import LIMIT_RULES
from technopay.engine.notifications.texts import MESSAGE_KINDS
from technopay.storage.records import CODE_VIEW, CODE_VIEW_AT, LIMIT_FIELDS, PAYMENT_VIEW, WAITED
from technopay.storage.schema import INITIALISING, LOST

HEADER = re.compile(r"\A-- (\w+)\(([^)]*)\)( [\w-]+)?\n")
DEFINITION = re.compile(r"^local (?:function (\w+)|([\w, ]+?) *(?:=|$))", re.MULTILINE)
NO_NAMES = re.compile(r"--.*|'[^'\n]*'")
NAME = re.compile(r"\b[A-Za-z_]\w*\b")
LIBRARY_PREFIX = "technopay_"
RECORDED = "recorded"
OTHER_STORE = "other_store"
BEGIN = f"if not begin(KEYS[1], KEYS[2]) then return {{'{OTHER_STORE}', at, ''}} end"
REPEAT = """\
local earlier_reply = recorded_reply(operation_id, fingerprint)
if earlier_reply then
    return earlier_reply
end"""


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    text: str
    """For EVAL."""
    function: str
    """For FCALL."""
    library: "Library"
    arguments: tuple[str, ...]
    flag: str
    """'no-writes' for a read, 'allow-oom' for one that finishes payments: no money waits for memory; 'recorded'
    for one whose reply is recorded."""
    takes_many: bool
    """Whether the last argument stands for as many as there are."""

    @property
    def finishes(self) -> bool:
        return self.flag == "allow-oom"


@dataclass(frozen=True, slots=True)
class Part:
    """Shared functions and constants, and all names in the text."""

    text: str
    defines: frozenset[str]
    names: frozenset[str]


@dataclass(slots=True)
class Library:
    """All scripts as functions of one library: a server creates the shared parts once, not for each call."""

    name: str = ""
    text: str = ""


@cache
def load_scripts() -> Mapping[str, Script]:
    """Read all scripts from the package, by name; every store of the process shares them."""
    folder = files("technopay.storage") / "scripts"
    parts = {"constants": _part(_constants())} | {
        file.name.removesuffix(".lua"): _part(file.read_text(encoding="utf-8"))
        for file in _lua_files(folder / "shared")
    }
    owners = {name: part for part, content in parts.items() for name in content.defines}
    assert len(owners) == sum(len(part.defines) for part in parts.values()), "two parts define one name"
    sources = [
        file.read_text(encoding="utf-8")
        for noun in sorted(folder.iterdir(), key=lambda each: each.name)
        if noun.is_dir() and noun.name != "shared"
        for file in sorted(_lua_files(noun), key=lambda each: each.name)
    ]
    shared = "\n".join([parts[part].text for part in _in_order(owners, parts, owners)])
    digest = hashlib.sha1("".join([shared, *sources]).encode(), usedforsecurity=False).hexdigest()[:10]
    library = Library(f"{LIBRARY_PREFIX}{digest}")
    scripts = [_load(source, parts, owners, library, digest) for source in sources]
    functions = [_function(script, source) for script, source in zip(scripts, sources, strict=True)]
    library.text = "\n".join([f"#!lua name={library.name}", shared, *functions])
    return MappingProxyType({script.name: script for script in scripts})


def _in_order(names: Iterable[str], parts: Mapping[str, Part], owners: Mapping[str, str]) -> list[str]:
    """Return the parts that define these names, each after the parts that it uses."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        part = owners.get(name)
        if part is not None and part not in visited:
            visited.add(part)
            for used in sorted(parts[part].names):
                add(used)
            ordered[part] = None

    visited: set[str] = set()
    for name in names:
        add(name)
    return list(ordered)


def _function(script: Script, source: str) -> str:
    flags = f"'{script.flag}'" if script.flag not in ("", RECORDED) else ""
    return (
        f"redis.register_function{{function_name = '{script.function}', flags = {{{flags}}},\n"
        f"callback = function(KEYS, ARGV)\n{_beginning(script)}\n{source}\nend}}"
    )


def _lua_files(folder: Traversable) -> Iterator[Traversable]:
    return (file for file in folder.iterdir() if file.name.endswith(".lua"))


def _constants() -> str:
    """Return the constants from Python: rules of limits, kinds of messages, names of fields."""
    rules = []
    for rule in LIMIT_RULES:
        named = dict(zip(("period_field", "limit_field", "used_field"), rule.fields, strict=True))
        named |= {"name": rule.name, "scope": rule.scope, "window": rule.window, "refusal": rule.refusal}
        pairs = ", ".join([f"{name} = '{text}'" for name, text in named.items()])
        rules.append(f"    {{{pairs}}},")
    kinds = [f"    ['{entry}'] = '{kind}'," for entry, kind in MESSAGE_KINDS.items()]
    events = [f"    ['{each}'] = true," for each in sorted(EVENT_TYPES)]
    return "\n".join(
        [
            "local LIMIT_RULES = {", *rules, "}",
            f"local LIMIT_FIELDS = {{{_quoted(LIMIT_FIELDS)}}}",
            f"local PAYMENT_VIEW = {{{_quoted(PAYMENT_VIEW)}}}",
            f"local CODE_VIEW = {{{_quoted(CODE_VIEW)}}}",
            f"local CODE_VIEW_AT = {CODE_VIEW_AT}",
            f"local LOST = '{LOST}'",
            f"local INITIALISING = '{INITIALISING}'",
            f"local WAITED = {{{', '.join([f'{status} = true' for status in WAITED])}}}",
            "local MESSAGE_KINDS = {", *kinds, "}",
            "local EVENT_TYPES = {", *events, "}", "",
        ]
    )  # fmt: skip


def _quoted(names: Iterable[str]) -> str:
    return ", ".join([f"'{name}'" for name in names])


def _part(text: str) -> Part:
    names = [name for one, many in DEFINITION.findall(text) for name in (one, *many.split(", ")) if name]
    return Part(text, frozenset(names), _names_in(text))


def _names_in(text: str) -> frozenset[str]:
    return frozenset(NAME.findall(NO_NAMES.sub("", text)))


def _load(
    source: str, parts: Mapping[str, Part], owners: Mapping[str, str], library: Library, digest: str
) -> Script:
    header = HEADER.match(source)
    assert header, f"no header: {source[:60]!r}"
    name, listed, flag = header[1], header[2], (header[3] or "").strip()
    arguments = tuple(argument for argument in listed.split(", ") if argument)
    assert all("..." not in argument for argument in arguments[:-1]), "only the last argument can be many"
    names = tuple(argument.removesuffix("...") for argument in arguments)
    script = Script(name, "", f"{name}_{digest}", library, names, flag, listed.endswith("..."))
    body = "\n".join([_beginning(script), source])
    used = _in_order(["begin", *sorted(_names_in(body))], parts, owners)
    return replace(script, text="\n".join([*(parts[part].text for part in used), body]))


def _beginning(script: Script) -> str:
    """Return the Lua text before a script's own: store and clock, the arguments, the reply to a repeat."""
    repeat = [REPEAT] if script.flag == RECORDED else []
    return "\n".join([BEGIN, _unpacking(script), *repeat])


def _unpacking(script: Script) -> str:
    """Return the Lua text that assigns the arguments to local variables."""
    if not script.arguments:
        return ""
    *fixed, last = script.arguments
    if not script.takes_many:
        return f"local {', '.join(script.arguments)} = unpack(ARGV)"
    many = f"local {last} = {{unpack(ARGV, {len(script.arguments)})}}"
    return f"local {', '.join(fixed)} = unpack(ARGV)\n{many}" if fixed else many
