"""Repeats of a script: the same outcome and no change; under another fingerprint a refusal."""

from dataclasses import replace
from typing import Any

import pytest
from support.fixtures.dumps import dump
from support.fixtures.script_calls import CASES, PREPARED
from support.fixtures.store_setup import Setup, operation

from technopay.engine.commands import CreateUser
from technopay.engine.ports import Outcome
from technopay.engine.values import Operation
from technopay.storage.scripts.loader import load_scripts

pytestmark = pytest.mark.any_partition


def timeless(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the times that a repeat may move: the ends of claims, and the claims of relay and archive."""
    kept = {name: value for name, value in found.items() if name not in ("relay", "archive")}
    return kept | {name: set(found.get(name, {})) for name in ("agenda", "engines")}


CORRUPTING = (
    "confirm_payment__without_funds", "begin_migration", "advance_migration", "take_slice", "recall_slice",
    "trim_journal",
    "drop_records", "restore_records",
)  # fmt: skip
"""Take the funds away behind the scripts' back, leave an interrupted migration, slices in one partition, or a
journal or a record without the archive of what it had."""
CLAIMS = frozenset(
    {
        "renew_claims", "set_aside", "claim_relay", "announce_engine", "claim_archive", "record_archived",
        "claim_trim", "trim_journal",
        "drop_records",
    }
)  # fmt: skip
COUNTING = "restore_records"
"""Returns how many records it wrote."""
OF_ONE_PARTITION = ("begin_migration", "advance_migration", "migrate_", "accept_loss", "initialise")
READS = ("read_", "find_", "list_", "search_", "has_", "count_")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.corrupts if name in CORRUPTING else ()) for name in CASES]
)
async def test_a_repeat_gets_the_same_outcome_and_changes_nothing(setup: Setup, name: str) -> None:
    if len(setup.store.partitions) > 1 and name.startswith(OF_ONE_PARTITION):
        pytest.skip("a store of several partitions has another way, or was never of an earlier schema")
    call = await CASES[name](setup)

    before = await dump(setup.store)
    first = await call()
    between = await dump(setup.store)
    second = await call()
    after = await dump(setup.store)

    if isinstance(first, Outcome):
        assert second.code == first.code
        # The reply to a repeated completion holds the payment.
        assert (
            second.value == first.value
            or name == COUNTING
            or (name == "complete_payment" and first.value is None)
        )
    else:
        assert second == first
    if name in CLAIMS:
        between, after = timeless(between), timeless(after)
    assert after == between
    if name.startswith(READS):
        assert between == before


def test_every_script_has_its_repeat() -> None:
    # The scripts of the audit only read; its own tests check that they change nothing.
    scripts = {name for name in load_scripts() if not name.startswith("audit_")}
    assert {name.partition("__")[0] for name in CASES} == scripts


RECORDED = {name for name, script in load_scripts().items() if script.flag == "recorded"}


@pytest.mark.parametrize("name", sorted(RECORDED))
async def test_an_operation_id_with_another_fingerprint_is_refused_and_changes_nothing(
    setup: Setup, name: str
) -> None:
    if len(setup.store.partitions) > 1 and name in ("bind_operation", "save_webhook", "note_resent"):
        pytest.skip("they run in a partition that is not named by the command, or in the first one")
    command: Any = await PREPARED[name](setup)
    used = operation(fingerprint="one thing")
    await setup.done(CreateUser(used, "carol", None, "+15550100"))
    before = await dump(setup.store)
    other = Operation(used.operation_id, "another thing", used.kept_ms)
    assert (await setup.run(replace(command, operation=other))).code == "idempotency_key_reused"
    assert await dump(setup.store) == before
