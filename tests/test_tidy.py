"""Rules beyond the reach of other tools: no stray packages, true `__all__`s, true Lua headers."""

import ast
import importlib
import re
import subprocess
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from support.fixtures.store_commands import COMMANDS

from technopay.storage.decode import DECODERS, DETAILED
from technopay.storage.redis_keys import KINDS
from technopay.storage.scripts.binding import bind
from technopay.storage.scripts.loader import load_scripts

ROOT = Path(__file__).parents[1]
ROOTS = ("engine", "http", "storage", "cli")
FOLDERS = [ROOT / root for root in (*ROOTS, "tests")]
SCRIPTS = ROOT / "storage/technopay/storage/scripts"
SHARED = SCRIPTS / "shared"
LUA = sorted(SCRIPTS.rglob("*.lua"))
OPERATIONS = [path for path in LUA if path.parent != SHARED]
PACKAGES = [
    f"technopay.{root}" for root in ROOTS if (ROOT / root / "technopay" / root / "__init__.py").exists()
]


def python_files() -> list[Path]:
    return [ROOT / "run.py", *(file for folder in FOLDERS for file in folder.rglob("*.py"))]


def tracked_files() -> list[Path]:
    """Return the files of the project: those that git tracks or would add."""
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
    """Return the names that a package imports or defines for others: no modules, no private names."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    names: set[str] = set()
    # Lazy imports are repeated for the type checker only.
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
    """Return a script without its comments."""
    return re.sub(r"--.*", "", script.read_text())


def defined(body: str) -> set[str]:
    """Return the functions and constants that a part defines."""
    found = re.findall(r"^local (?:function (\w+)|([\w, ]+?) *(?:=|$))", body, re.MULTILINE)
    return {name for one, many in found for name in (one, *many.split(", ")) if name}


@pytest.mark.parametrize("script", OPERATIONS, ids=lambda path: path.stem)
def test_a_script_says_what_it_does_and_what_it_returns(script: Path) -> None:
    header = script.read_text()
    assert re.search(r"^-- Returns \{code, now, ", header, re.MULTILINE)
    lines = header.splitlines()
    assert lines[0].startswith(f"-- {script.stem}(")
    assert lines[1] == "--"
    assert lines[2].startswith("-- ")


def test_every_script_has_one_command_and_every_command_one_script() -> None:
    scripts = load_scripts()
    assert set(scripts) == {path.stem for path in OPERATIONS}
    assert len(scripts) == len(OPERATIONS)
    assert sorted(bind(command, scripts).script.name for command in COMMANDS) == sorted(scripts)


def test_every_result_of_a_command_can_be_decoded() -> None:
    scripts = load_scripts()
    assert {bind(command, scripts).result for command in COMMANDS} == set(DECODERS)
    assert set(DECODERS) >= DETAILED


def test_no_two_shared_parts_define_one_name_and_every_part_is_used() -> None:
    parts = {path.stem: body_of(path) for path in LUA if path.parent == SHARED}
    counts = Counter(name for body in parts.values() for name in defined(body))
    assert [name for name, count in counts.items() if count > 1] == []
    for part, body in parts.items():
        others = "".join(body_of(path) for path in LUA if path.stem != part)
        assert part == "base" or defined(body) & set(re.findall(r"\w+", others)), part


def test_the_kinds_of_keys_in_scripts_are_those_that_are_listed() -> None:
    bodies = [body_of(path) for path in LUA]
    named_by = r"\b(?:key|read|fields|exists)\('([^']+)'"
    used = {kind for body in bodies for kind in re.findall(named_by, body)}
    journal, guard = {"journal"}, {"guard"}  # KEYS[1] and KEYS[2]
    assert used <= set(KINDS) | guard
    assert set(KINDS) - used - journal == set()


def test_scripts_only_name_keys_by_the_key_function() -> None:
    for path in LUA:
        for line in body_of(path).splitlines():
            assert "{tp" not in line
            if path.stem != "base":
                assert "tag .." not in line, path


def test_scripts_answer_fixed_codes_and_never_errors_or_statuses_of_their_own() -> None:
    # Such a reply is not escaped: user data in it could end it and begin another client's.
    own = r"\b(error_reply|status_reply)\b|[{,]\s*(err|ok)\s*=|\berror\("
    for path in LUA:
        assert not re.search(own, body_of(path)), path


def test_scripts_do_not_sort_text_by_the_letters_of_the_servers_language() -> None:
    # Lua compares text with strcoll, and servers set LC_COLLATE from their environment.
    for path in LUA:
        assert not re.search(r"table\.sort\([^,()]*\)", body_of(path)), path


def test_every_security_requirement_has_a_test_that_exists_or_a_dated_decision() -> None:
    table = (ROOT / "docs/security.md").read_text()
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
    # Python 3.12.0 to 3.12.3 take them for names, and require a mapping.
    for path in python_files():
        assert not re.search(r"[=(,] ?\?\d", path.read_text()), path


def test_files_are_short() -> None:
    for path in LUA:
        assert len(path.read_text().splitlines()) <= 200, path
    for path in python_files():
        assert len(path.read_text().splitlines()) <= 400, path


def test_no_package_registry_is_named_anywhere() -> None:
    # In pieces, so that this file does not contain them.
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
