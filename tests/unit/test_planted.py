"""The catalogue of breakages matches the code, and only a test that fails by itself counts as a catch."""

import importlib
import logging
import re
from typing import Any

import pytest
from planted.breakage import ROOT, Breakage, Edit, StaleError, lua, unknown_tests
from planted.catalogue import BREAKAGES
from planted.guard import Defects, strangers
from planted.runner import SOUND, Note, Run, copied_tree, judge, project_files, try_breakage

from technopay.engine import OutcomeUnknown

REQUIRED = {
    "result-after-lease", "result-after-claim", "operation-forgotten", "new-operation-on-every-repeat",
    "any-claim-completes", "link-repeats-lost-calls", "refund-on-time-out",
    "refund-on-not-found", "call-off-without-tombstone", "limit-counted-before-judging",
    "limit-given-back-to-today", "told-before-written", "everysec-accepted", "code-burnt-before-the-balance",
    "limit-counted-and-given-back", "malformed-code-is-free", "success-without-event",
    "failure-without-event", "lease-outlives-clock-jump", "inactive-wallet-gets-nothing-back",
    "key-recorded-afterwards", "completion-refused-when-full", "refund-credited-twice", "confirms-not-counted",
    "right-code-passes-over-limit", "window-extended-by-clock-back",
}  # fmt: skip
TEST = "tests/unit/test_rule.py::test_the_rule_holds"
COMMENT = lua("void_invoice", "if invoice.payment then", "-- nothing is broken\nif invoice.payment then")
NONSENSE = lua("void_invoice", "if invoice.payment then", "if if invoice.payment then")
VOID = (
    "tests/unit/storage/test_entities.py"
    "::test_a_void_invoice_ends_the_payment_that_waits_and_stays_void[fake-waiting]"
)


def ids(breakage: Breakage) -> str:
    return breakage.name


every_breakage = pytest.mark.parametrize("breakage", BREAKAGES, ids=ids)


@every_breakage
def test_a_breakage_fits_the_code_and_leaves_code_behind(breakage: Breakage) -> None:
    runtime: Any = importlib.import_module("lupa.lua51").LuaRuntime()
    for file, text in breakage.broken().items():
        assert text != (ROOT / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            compile(text, file, "exec")
        else:
            runtime.compile(text)


@every_breakage
def test_the_tests_that_are_meant_to_catch_a_breakage_exist(breakage: Breakage) -> None:
    assert breakage.tests
    assert unknown_tests([SOUND, *breakage.tests]) == []


def test_the_catalogue_is_whole_and_every_breakage_has_its_own_name_and_rule() -> None:
    names = [breakage.name for breakage in BREAKAGES]
    assert set(names) >= REQUIRED
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(-[a-z]+)+", name) for name in names)
    rules = {breakage.rule for breakage in BREAKAGES}
    assert len(rules) == len(names)
    assert all(rule.endswith(".") for rule in rules)


@pytest.mark.parametrize("old", ["this is nowhere", "invoice"])
def test_a_text_that_is_not_there_exactly_once_is_out_of_date(old: str) -> None:
    edit = lua("void_invoice", old, "something else")
    with pytest.raises(StaleError, match=r"void_invoice\.lua: found \d+ times, not once"):
        Breakage("stale", "None.", (edit,), ()).broken()


def test_a_test_that_was_renamed_is_missed() -> None:
    here = "tests/unit/test_planted.py::test_a_test_that_was_renamed_is_missed"
    gone = ["tests/unit/test_planted.py::test_a_test", "tests/unit/test_gone.py::test_it"]
    assert unknown_tests([here, f"{here}[fake]", *gone]) == gone


def run(test_outcome: str, *, defect: str = "", sound: str = "passed", status: int = 1) -> Run:
    notes = (Note(SOUND, sound, "", ""), Note(f"{TEST}[fake]", test_outcome, "AssertionError", defect))
    return Run(status, notes)


def test_a_test_that_fails_in_a_copy_that_works_otherwise_has_caught_it() -> None:
    for test in (TEST, f"{TEST}[fake]"):
        verdict = judge(run("failed"), [test])
        assert verdict.is_caught
        assert [note.test for note in verdict.caught_by] == [f"{TEST}[fake]"]


@pytest.mark.parametrize(
    ("came_to", "trouble"),
    [
        (run("passed", status=0), "does not catch it"),
        (run("skipped", status=0), "does not catch it"),
        (run("error"), "does not catch it"),
        (run("failed", defect="a script failed: it does not compile"), "only met a defect"),
        (run("failed", sound="failed"), "cannot even make a purchase"),
        (run("failed", sound="skipped"), "cannot even make a purchase"),
        (run("failed", status=2), "did not run"),
        (run("failed", status=4), "did not run"),
        (Run(-1, ()), "did not run"),
    ],
)
def test_nothing_else_counts(came_to: Run, trouble: str) -> None:
    verdict = judge(came_to, [TEST])
    assert not verdict.is_caught
    assert trouble in " ".join(verdict.troubles)


def test_every_test_that_is_meant_to_catch_it_has_to() -> None:
    verdict = judge(run("failed"), [TEST, "tests/unit/test_rule.py::test_another"])
    assert len(verdict.caught_by) == 1
    assert verdict.troubles == ("test_another does not catch it",)


@pytest.mark.parametrize(
    ("logger", "level", "error", "is_defect"),
    [
        ("technopay.storage.server.connection", logging.ERROR, None, True),
        ("technopay.storage.server.connection", logging.WARNING, None, False),
        ("asyncio", logging.ERROR, TypeError("no such argument"), True),
        ("asyncio", logging.ERROR, OutcomeUnknown(), False),
        ("asyncio", logging.ERROR, None, False),
    ],
)
def test_what_the_product_logs_as_a_defect_and_mistakes_in_tasks_are_noted(
    logger: str, level: int, error: Exception | None, is_defect: bool
) -> None:
    defects = Defects()
    exc_info = (type(error), error, None) if error else None
    record = logging.LogRecord(logger, level, "", 0, "it went wrong\nand how", (), exc_info)

    if record.levelno >= defects.level:
        defects.emit(record)

    assert bool(defects.seen) == is_defect


def test_a_copy_is_whole_and_private() -> None:
    edit = Edit("tests/unit/test_planted.py", '"""The catalogue' + " of", "broken")
    with copied_tree() as copy:
        assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {*project_files()}
        Breakage("one", "None.", (edit,), ()).apply(copy)
        assert (copy / edit.file).read_text(encoding="utf-8").startswith("broken")
        assert strangers({"ours": str(copy / "a.py"), "theirs": str(ROOT / "a.py")}, copy) == {
            "theirs": str(ROOT / "a.py")
        }
    assert (ROOT / edit.file).read_text(encoding="utf-8").startswith(edit.old)


@pytest.mark.parametrize(("edit", "trouble"), [(COMMENT, "does not catch it"), (NONSENSE, "only met a defect")])
def test_code_that_is_not_broken_and_code_that_is_none_are_not_caught(edit: Edit, trouble: str) -> None:
    verdict = try_breakage(Breakage("nothing", "None.", (edit,), (VOID,)))
    assert verdict.caught_by == ()
    (told,) = verdict.troubles
    assert trouble in told
