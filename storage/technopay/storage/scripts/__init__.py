"""The Lua scripts: one file per operation; shared parts in `shared/`, put in where one says `--@include`.

That is at the top or, for a part that only a rare case needs, in the branch of that case: each call makes the
functions that it comes past, and each costs the store as much as a third of a small command.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

INCLUDE = re.compile(r"^--@include (\w+)\n", re.MULTILINE)
SIGNATURE = re.compile(r"\A-- (\w+)\(keys=\[journal\], args=\[([^\]]*)\]\)\n")


@dataclass(frozen=True)
class Script:
    """A script as it is sent, the digest that it is called by, and the names of its arguments."""

    name: str
    text: str
    sha: str
    arguments: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its arguments; the last one can stand for many."""
        return tuple(argument.removesuffix("...") for argument in self.arguments)

    @cached_property
    def takes_many(self) -> bool:
        """Whether the last argument stands for as many as there are."""
        return bool(self.arguments) and self.arguments[-1].endswith("...")


def load_scripts() -> dict[str, Script]:
    """Read all scripts from the package, by name."""
    folder = files("technopay.storage") / "scripts"
    shared = {
        part.name.removesuffix(".lua"): part.read_text(encoding="utf-8")
        for part in (folder / "shared").iterdir()
        if part.name.endswith(".lua")
    }
    scripts = {}
    for file in folder.iterdir():
        if file.name.endswith(".lua"):
            source = file.read_text(encoding="utf-8")
            signature = SIGNATURE.match(source)
            assert signature, f"{file.name} does not begin with its signature"
            text = INCLUDE.sub(lambda include: shared[include[1]], source)
            sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            arguments = tuple(argument for argument in signature[2].split(", ") if argument)
            assert all("..." not in argument for argument in arguments[:-1]), "only the last can be many"
            scripts[signature[1]] = Script(signature[1], text, sha, arguments)
    return scripts
