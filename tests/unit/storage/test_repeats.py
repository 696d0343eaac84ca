"""A script that is sent again after a lost reply, word for word, answers the same and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from support.fixtures.script_calls import CASES
from support.fixtures.store_setup import Setup, dump

from technopay.engine.ports import Outcome
from technopay.storage.scripts.loader import load_scripts

pytestmark = pytest.mark.any_partition


def timeless(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a repeat may move on: when claims run out, and the relay's own claim."""
    kept = {name: value for name, value in found.items() if name != "relay"}
    return kept | {"agenda": set(found.get("agenda", {}))}


CORRUPTING = ("confirm_payment__without_funds", "begin_migration", "advance_migration")
"""Take the funds away behind the scripts' back, or leave the store where a migration was broken off."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.corrupts if name in CORRUPTING else ()) for name in CASES]
)
async def test_a_repeat_gets_the_same_outcome_and_changes_nothing(setup: Setup, name: str) -> None:
    call = await CASES[name](setup)

    first = await call()
    between = await dump(setup.store)
    second = await call()
    after = await dump(setup.store)

    if isinstance(first, Outcome):
        assert second.code == first.code
        # The reply to a repeated completion holds the payment.
        assert second.value == first.value or (name == "complete_payment" and first.value is None)
    else:
        assert second == first
    if name in ("renew_claims", "set_aside", "claim_relay"):
        between, after = timeless(between), timeless(after)
    assert after == between


def test_every_script_has_its_repeat() -> None:
    # Those of the audit only read; its own tests see that they change nothing.
    scripts = {name for name in load_scripts() if not name.startswith("audit_")}
    assert {name.partition("__")[0] for name in CASES} == scripts
