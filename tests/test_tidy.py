"""Rules that no other tool sees: no stray packages, true `__all__`s, Lua headers that tell the truth."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from technopay.storage.redis_keys import KINDS
from technopay.storage.scripts.loader import load_scripts

ROOT = Path(__file__).parents[1]
ROOTS = ("engine", "http", "storage", "cli")
FOLDERS = [ROOT / root for root in (*ROOTS, "tests")]
SCRIPTS = ROOT / "storage/technopay/storage/scripts"
LUA = sorted(SCRIPTS.rglob("*.lua"))
PACKAGES = [
    f"technopay.{root}" for root in ROOTS if (ROOT / root / "technopay" / root / "__init__.py").exists()
]


def python_files() -> list[Path]:
    return [ROOT / "run.py", *(file for folder in FOLDERS for file in folder.rglob("*.py"))]


def tracked_files() -> list[Path]:
    """Answer the files of the project: what git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        return [*python_files(), *LUA, ROOT / "pyproject.toml", ROOT / "README.md"]
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_folder_becomes_a_package_that_must_not_be_one() -> None:
    for root in ROOTS:
        assert not (ROOT / root / "__init__.py").exists()
        assert not (ROOT / root / "technopay" / "__init__.py").exists()
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_standard_librarys_http_stays_what_it_is() -> None:
    assert importlib.import_module("http.client").__name__ == "http.client"
    assert not str(importlib.import_module("http").__file__).startswith(str(ROOT / "http"))


def constants_first(names: list[str]) -> list[str]:
    """Sort as ruff does: CONSTANTS, then Classes, then functions; each by its letters."""

    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)

    return sorted(names, key=rank)


def public_names(module: ModuleType) -> set[str]:
    """Answer the names that a package imports or defines for others: all but modules and those with a dash."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    names: set[str] = set()
    # What is loaded when it is asked for is imported for the type checker only.
    for_types = [node for block in tree.body if isinstance(block, ast.If) for node in block.body]
    for node in [*tree.body, *for_types]:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_sorted_and_true(package: str) -> None:
    module = importlib.import_module(package)
    listed = getattr(module, "__all__", [])
    assert list(listed) == constants_first(listed)
    assert len(listed) == len(set(listed))
    assert set(listed) == public_names(module)
    for name in listed:
        assert hasattr(module, name)


def body_of(script: Path) -> str:
    """Answer a script without its comments and without what it includes."""
    return re.sub(r"--.*", "", script.read_text())


def unpacked(body: str) -> list[str]:
    """Answer the names that a script's body gives to its arguments, in order."""
    names: dict[int, str] = {}
    for left, first, last in re.findall(r"local ([\w, ]+) = unpack\(ARGV, (\d+), (\d+)\)", body):
        found = left.split(", ")
        assert len(found) == int(last) - int(first) + 1, left
        names |= {int(first) + i: name for i, name in enumerate(found)}
    indexed = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", body)}
    assert not indexed & set(names)
    names |= dict.fromkeys(indexed, "")
    assert sorted(names) == list(range(1, len(names) + 1))
    return [names[number] for number in sorted(names)]


ALIASES = {
    "user": "user_id", "wallet": "wallet_id", "invoice": "invoice_id", "index": "index", "limit": "amount",
}  # fmt: skip
"""Arguments that a body calls differently, because the record of that name is in there, too."""


@pytest.mark.parametrize("script", [path for path in LUA if path.parent == SCRIPTS], ids=lambda path: path.stem)
def test_a_script_takes_the_arguments_that_its_header_names(script: Path) -> None:
    declared = list(load_scripts()[script.stem].arguments)
    rest = [name for name in declared if name.endswith("...")]
    fixed = [name for name in declared if name not in rest]
    assert rest in ([], declared[-1:])
    body = body_of(script)
    used = unpacked(body)
    assert len(used) == len(fixed)
    for name, local in zip(fixed, used, strict=True):
        assert local in ("", name, "id", ALIASES.get(name, name)), f"{local} for {name}"
    first = len(fixed) + 1
    loops = (
        (f"for i = {first}, #ARGV", f"unpack(ARGV, {first})") if fixed else ("in ipairs(ARGV)", "each(ARGV,")
    )
    assert bool(rest) == any(loop in body for loop in loops)


@pytest.mark.parametrize("script", [path for path in LUA if path.parent == SCRIPTS], ids=lambda path: path.stem)
def test_a_script_says_what_it_does_and_what_it_returns(script: Path) -> None:
    header = script.read_text().split("--@include")[0]
    assert re.search(r"^-- Returns \{code, now, ", header, re.MULTILINE)
    lines = header.splitlines()
    assert lines[1] == "--"
    assert lines[2].startswith("-- ")


def test_every_included_part_is_there_and_every_part_is_included() -> None:
    included = {
        name for path in LUA for name in re.findall(r"^--@include (\w+)$", path.read_text(), re.MULTILINE)
    }
    assert included == {path.stem for path in LUA if path.parent != SCRIPTS}
    for script in load_scripts().values():
        assert "@include" not in script.text


def test_the_kinds_of_keys_in_scripts_are_those_that_are_listed() -> None:
    bodies = [body_of(path) for path in LUA]
    named_by = r"\b(?:key|read|fields|exists)\('([^']+)'"
    used = {kind for body in bodies for kind in re.findall(named_by, body)}
    journal = {"journal"}  # KEYS[1]
    assert used <= set(KINDS)
    # Indexes are named by the caller: key(index).
    indexes = {"invoices", "payments", "set_aside"}
    assert set(KINDS) - used - journal <= indexes


def test_scripts_only_name_keys_by_the_key_function() -> None:
    for path in LUA:
        for line in body_of(path).splitlines():
            assert "{tp" not in line
            if path.stem != "base":
                assert "tag .." not in line, path


def test_scripts_answer_fixed_codes_and_never_errors_or_statuses_of_their_own() -> None:
    # What is in such a reply is not escaped: user data in it could end it and begin another client's.
    own = r"\b(error_reply|status_reply)\b|[{,]\s*(err|ok)\s*=|\berror\("
    for path in LUA:
        assert not re.search(own, body_of(path)), path


def defined(body: str) -> set[str]:
    """Answer the functions and constants that a body makes."""
    return set(re.findall(r"^local (?:function )?(\w+)", body, re.MULTILINE))


def used(body: str) -> set[str]:
    """Answer the functions and constants that a body uses."""
    return set(re.findall(r"\b\w+(?=\()|\b[A-Z][A-Z_]+\b", body))


def test_scripts_include_what_they_use_before_they_use_it_and_nothing_else() -> None:
    parts = {path.stem: body_of(path) for path in LUA if path.parent != SCRIPTS}
    shared = set().union(*map(defined, parts.values()))
    for script in (path for path in LUA if path.parent == SCRIPTS):
        included = re.findall(r"^--@include (\w+)$", script.read_text(), re.MULTILINE)
        bodies = [*(parts[name] for name in included), body_of(script)]
        known: set[str] = set()
        for place, body in enumerate(bodies):
            known |= defined(body)
            assert used(body) & shared <= known, (
                f"{script.stem}: {[*included, 'itself'][place]} comes too early"
            )
        for place, name in enumerate(included):
            behind = "".join(bodies[place + 1 :])
            assert defined(parts[name]) & set(re.findall(r"\w+", behind)), f"{script.stem}: {name} is not used"


def test_scripts_do_not_sort_text_by_the_letters_of_the_servers_language() -> None:
    # Lua compares text with strcoll, and servers set LC_COLLATE from their environment.
    for path in LUA:
        assert not re.search(r"table\.sort\([^,()]*\)", body_of(path)), path


def test_every_security_requirement_has_a_test_that_exists_or_a_dated_decision() -> None:
    table = (ROOT / "http/README.md").read_text().partition("## Security requirements")[2]
    rows = re.findall(r"^\| (S\d+(?:, S\d+)*) \|(.*)$", table, re.MULTILINE)
    assert [name for names, _ in rows for name in names.split(", ")] == [
        f"S{number}" for number in range(1, 37)
    ]
    for names, row in rows:
        files = re.findall(r"`((?:unit|feature|faults|property|races|support)/[\w/]+\.py|test_tidy\.py)`", row)
        assert files or "2026-" in row, names
        for file in files:
            assert (ROOT / "tests" / file).is_file(), file


def test_sql_has_no_numbered_placeholders() -> None:
    # Python 3.12.0 to 3.12.3 take them for names, and want a mapping.
    for path in python_files():
        assert not re.search(r"[=(,] ?\?\d", path.read_text()), path


def test_files_are_short() -> None:
    for path in LUA:
        assert len(path.read_text().splitlines()) <= 200, path
    for path in python_files():
        assert len(path.read_text().splitlines()) <= 400, path


def test_no_package_registry_is_named_anywhere() -> None:
    # In pieces, or this file would name them.
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "registry." + "npmjs",
        "index-" + "url",
        "art" + "ifactory",
    ]
    pattern = re.compile("|".join(map(re.escape, hosts)), re.IGNORECASE)
    for path in tracked_files():
        text = path.read_bytes().decode(errors="ignore")
        assert not pattern.search(text), path
