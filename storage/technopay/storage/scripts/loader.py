"""Loads the Lua scripts: one file an operation, in folders by noun; functions that several use are in
`shared/`.

A script begins with its header, `-- name(argument, argument, many...) flag`. The loader puts its arguments into
local variables of these names, behind the shared parts that the script uses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

HEADER = re.compile(r"\A-- (\w+)\(([^)]*)\)( [\w-]+)?\n")
DEFINITION = re.compile(r"^local (?:function (\w+)|([\w, ]+?) *(?:=|$))", re.MULTILINE)
NO_NAMES = re.compile(r"--.*|'[^'\n]*'")
NAME = re.compile(r"\b[A-Za-z_]\w*\b")
FIRST_PART = "base"


@dataclass(frozen=True, slots=True)
class Script:
    """A script as it is sent, the digest that it is called by, and the names of its arguments."""

    name: str
    text: str
    sha: str
    arguments: tuple[str, ...]
    flag: str
    """'no-writes' for a read, 'allow-oom' for one that finishes what was begun: no money waits for memory."""
    takes_many: bool
    """Whether the last argument stands for as many as there are."""

    @property
    def finishes(self) -> bool:
        return self.flag == "allow-oom"


@dataclass(frozen=True, slots=True)
class Part:
    """Functions and constants that scripts share, and the parts that they need themselves."""

    text: str
    defines: frozenset[str]


def load_scripts() -> Mapping[str, Script]:
    """Read all scripts from the package, by name."""
    folder = files("technopay.storage") / "scripts"
    parts = {file.name.removesuffix(".lua"): _part(file) for file in _lua_files(folder / "shared")}
    owners = {name: part for part, content in parts.items() for name in content.defines}
    assert len(owners) == sum(len(part.defines) for part in parts.values()), "two parts define one name"
    found = [
        _load(file.read_text(encoding="utf-8"), parts, owners)
        for noun in folder.iterdir()
        if noun.is_dir() and noun.name != "shared"
        for file in _lua_files(noun)
    ]
    return {script.name: script for script in found}


def _lua_files(folder: Traversable) -> Iterator[Traversable]:
    return (file for file in folder.iterdir() if file.name.endswith(".lua"))


def _part(file: Traversable) -> Part:
    text = file.read_text(encoding="utf-8")
    names = [name for one, many in DEFINITION.findall(text) for name in (one, *many.split(", ")) if name]
    return Part(text, frozenset(names))


def _load(source: str, parts: Mapping[str, Part], owners: Mapping[str, str]) -> Script:
    header = HEADER.match(source)
    assert header, f"no header: {source[:60]!r}"
    name, listed, flag = header[1], header[2], (header[3] or "").strip()
    arguments = tuple(argument for argument in listed.split(", ") if argument)
    assert all("..." not in argument for argument in arguments[:-1]), "only the last argument can be many"
    used = _parts_of(source, parts, owners)
    text = "\n".join([*(parts[part].text for part in used), "begin(KEYS[1])", _unpacking(arguments), source])
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    names = tuple(argument.removesuffix("...") for argument in arguments)
    return Script(name, text, sha, names, flag, listed.endswith("..."))


def _parts_of(source: str, parts: Mapping[str, Part], owners: Mapping[str, str]) -> list[str]:
    """Return the parts that a text uses, each behind those that it uses itself."""
    ordered: dict[str, None] = {}

    def add(part: str) -> None:
        if part not in ordered:
            visit(parts[part].text)
            ordered[part] = None

    def visit(text: str) -> None:
        for name in NAME.findall(NO_NAMES.sub("", text)):
            if name in owners and parts[owners[name]].text is not text:
                add(owners[name])

    add(FIRST_PART)
    visit(source)
    return list(ordered)


def _unpacking(arguments: tuple[str, ...]) -> str:
    if not arguments:
        return ""
    *fixed, last = arguments
    if not last.endswith("..."):
        return f"local {', '.join(arguments)} = unpack(ARGV)"
    many = f"local {last.removesuffix('...')} = {{unpack(ARGV, {len(arguments)})}}"
    return f"local {', '.join(fixed)} = unpack(ARGV)\n{many}" if fixed else many
