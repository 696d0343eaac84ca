"""The evidence of a confirm: the versions that a code matches, the key, and the stored part of it."""

import pytest
from support.fixtures.dumps import dump
from support.fixtures.store_setup import RIGHT, WRONG, Setup, evidence_of, new_id

from technopay.engine import commands
from technopay.engine.values import Evidence
from technopay.engine.verifiers.code_keys import CodeState, code_state_of


@pytest.mark.parametrize("evidence", [RIGHT, WRONG], ids=["right", "wrong"])
async def test_an_answer_that_was_compared_under_another_key_is_not_judged_and_not_counted(
    setup: Setup, evidence: Evidence
) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    before = await dump(setup.store)
    for key_id in ("ffffffff", "", "-"):
        other = evidence._replace(key_id=key_id)
        command = commands.ConfirmPayment(new_id("op"), payment_id, "alice", other, 5, 5)
        assert (await setup.run(command)).code == "key_unknown"
    assert await dump(setup.store) == before
    assert (await setup.confirm(payment_id)).code == "ok"


async def test_a_code_that_two_versions_share_is_right_for_both(setup: Setup) -> None:
    wallet, both = await setup.wallet(), evidence_of("both", 1, 2)
    for issue in (1, 2):
        payment_id = await setup.started(wallet, await setup.invoice())
        if issue == 2:
            assert (await setup.resend(payment_id, 2)).code == "ok"
        assert (await setup.confirm(payment_id, both)).code == "ok"
        assert (await setup.confirm(payment_id, both)).replayed


async def test_an_answer_that_is_right_for_any_version_is_right_after_a_resend(setup: Setup) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    assert (await setup.resend(payment_id, 2)).code == "ok"
    assert (await setup.confirm(payment_id, RIGHT._replace(versions="*"))).code == "ok"


async def test_versions_that_are_digits_of_others_are_not_taken_for_them(setup: Setup) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice(), resends=12)
    for versions in (",11,", ",10,21,", ","):
        assert (
            await setup.confirm(payment_id, RIGHT._replace(versions=versions))
        ).code == "confirmation_invalid"
    assert (await setup.confirm(payment_id, RIGHT._replace(versions=",1,11,"))).code == "ok"


async def test_a_replay_is_known_by_the_digest_under_any_key_and_asks_for_no_version(setup: Setup) -> None:
    payment_id, _ = await setup.processing(await setup.wallet())
    assert (await setup.fields("payment", payment_id))["digest"] == RIGHT.digests
    before = await dump(setup.store)
    for digests in (RIGHT.digests, f"ffffffff:other {RIGHT.digests}"):
        outcome = await setup.confirm(payment_id, Evidence("-", ",", digests))
        assert (outcome.code, outcome.replayed) == ("ok", True)
    for digests, code in (
        (WRONG.digests, "payment_not_confirmable"),
        (f"{RIGHT.digests}x", "payment_not_confirmable"),
        ("ffffffff:right", "key_unknown"),
    ):
        assert (await setup.confirm(payment_id, Evidence("-", ",", digests))).code == code
    assert await dump(setup.store) == before


async def test_a_payment_that_ended_is_not_confirmable_under_a_key_that_is_gone(setup: Setup) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    gone = Evidence("-", ",", "ffffffff:right")
    assert (await setup.confirm(payment_id, gone)).code == "payment_not_confirmable"


@pytest.mark.corrupts
@pytest.mark.parametrize("wrong_calls", [None, "op.1,op.2"])
async def test_a_code_and_a_digest_without_a_key_belong_to_the_first_secret(
    setup: Setup, wrong_calls: str | None
) -> None:
    """As up to schema 4."""
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    await setup.write_code(payment_id, key=None, wrong_calls=wrong_calls)
    await setup.write("payment", payment_id, digest="a digest of the code")
    payment = await setup.payment(payment_id)
    assert code_state_of(payment) == CodeState("", 1, 4)

    assert (await setup.confirm(payment_id, RIGHT)).code == "key_unknown"
    wrong = await setup.confirm(payment_id, WRONG._replace(key_id=""))
    assert (wrong.code, wrong.details) == ("confirmation_invalid", {"attempts_remaining": 4})
    assert (await setup.confirm(payment_id, RIGHT._replace(key_id=""))).code == "ok"

    await setup.write("payment", payment_id, digest="right")
    assert (await setup.confirm(payment_id, RIGHT)).replayed
    assert (await setup.confirm(payment_id, WRONG)).code == "payment_not_confirmable"
