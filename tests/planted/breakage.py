"""A breakage: a change to the code that breaks one rule, and the tests that have to catch it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


class StaleError(Exception):
    """Raised unless an edit's old text occurs exactly once: the catalogue is out of date."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to one file: `old` has to occur exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Breakage:
    """Edits, the rule that they break, and the tests, each of which has to catch the breakage."""

    name: str
    rule: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def broken(self, root: Path = ROOT) -> dict[str, str]:
        """Return the broken files under `root`.

        Raises:
            StaleError: an old text is not there exactly once.

        """
        texts: dict[str, str] = {}
        for edit in self.edits:
            path = root / edit.file
            before = texts.get(edit.file) or (path.read_text(encoding="utf-8") if path.is_file() else "")
            if (found := before.count(edit.old)) != 1:
                raise StaleError(f"{edit.file}: found {found} times, not once: {edit.old!r}")
            texts[edit.file] = before.replace(edit.old, edit.new)
        return texts

    def apply(self, root: Path) -> None:
        """Break the code under `root`."""
        for file, text in self.broken(root).items():
            (root / file).write_text(text, encoding="utf-8")


def lua(script: str, old: str, new: str) -> Edit:
    """Change a script of the store, by its name, in any folder; a shared part is `shared/<name>`."""
    folder = ROOT / "storage/technopay/storage/scripts"
    path = next(folder.glob(f"{script}.lua" if "/" in script else f"*/{script}.lua"), folder / script)
    return Edit(str(path.relative_to(ROOT)), old, new)


def storage(module: str, old: str, new: str) -> Edit:
    """Change a module of the store."""
    return Edit(f"storage/technopay/storage/{module}.py", old, new)


def engine(module: str, old: str, new: str) -> Edit:
    """Change a module of the engine."""
    return Edit(f"engine/technopay/engine/{module}.py", old, new)


def is_of(node: str, test: str) -> bool:
    """Whether a test that ran is the named one; a name without parameters stands for all parameters."""
    return node == test or node.startswith(f"{test}[")


def unknown_tests(tests: Iterable[str], root: Path = ROOT) -> list[str]:
    """Return the tests that are not defined in any file."""
    unknown = []
    for test in tests:
        file, _, rest = test.partition("::")
        path, name = root / file, rest.partition("[")[0]
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        if not re.search(rf"^(async )?def {re.escape(name)}\(", source, re.MULTILINE):
            unknown.append(test)
    return unknown
