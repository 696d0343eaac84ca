"""The second step: resends, and codes as people type them."""

import asyncio

import pytest
from support.fixtures.engine_setup import Setup, other_than, wait_for

from technopay.engine import (
    ConfirmationInvalid,
    Payment,
    RateLimited,
    ValidationFailed,
)

ZEROS = {"persian": 0x06F0, "arabic": 0x0660, "full-width": 0xFF10, "devanagari": 0x0966}
WRONG = [
    ("1", "x" * 64, "      ", "０００００００"),
    ("0" * 63 + "\n", "a|b", "\ud800", " " * 64),
    ("--", "²" * 6, "💥", "000"),
]


async def test_a_resend_sends_a_fresh_code_in_place_of_the_old_one_three_times(alice: Setup) -> None:
    payment = await alice.start()
    old = await alice.code_from_inbox(payment)
    await asyncio.sleep(0.002)  # the store's clock counts milliseconds

    resend = {"user_id": "alice", "payment_id": payment.id}
    outcomes = await asyncio.gather(
        *(alice.engine.resend_code(**resend) for _ in range(5)), return_exceptions=True
    )

    resent = [each.confirmation for each in outcomes if isinstance(each, Payment)]
    assert payment.confirmation is not None
    assert sorted(each.resends_remaining for each in resent if each) == [0, 1, 2]
    assert all(each and each.expires_at > payment.confirmation.expires_at for each in resent)
    refused = [each for each in outcomes if isinstance(each, RateLimited)]
    assert [each.too_many for each in refused] == ["resends"] * 2
    assert all(each.retry_after_s and 290 < each.retry_after_s <= 300 for each in refused)

    fresh = await alice.right_code(payment, issue=4)

    async def is_sent() -> bool:
        return fresh in [each.message.code for each in await alice.messages("confirmation.code")]

    await wait_for(is_sent)
    with pytest.raises(ConfirmationInvalid):
        await alice.confirm(payment, old)
    assert (await alice.confirm(payment, fresh)).status == "succeeded"


async def test_any_string_that_does_not_match_costs_an_attempt(alice: Setup) -> None:
    """Its length is the length as typed. The fifth attempt can still be right."""
    for four in WRONG:
        payment = await alice.start()
        for left, typed in zip((4, 3, 2, 1), four, strict=True):
            with pytest.raises(ConfirmationInvalid) as refused:
                await alice.confirm(payment, typed)
            assert refused.value.attempts_remaining == left, typed
        with pytest.raises(ValidationFailed):
            await alice.confirm(payment, " " * 65)
        assert (await alice.confirm(payment)).status == "succeeded"


async def test_a_code_can_be_typed_in_the_digits_of_any_script(alice: Setup) -> None:
    for zero in ZEROS.values():
        payment = await alice.start()
        code = await alice.right_code(payment)
        right, wrong = ("".join(chr(zero + int(digit)) for digit in each) for each in (code, other_than(code)))

        with pytest.raises(ConfirmationInvalid) as refused:
            await alice.confirm(payment, wrong)
        assert refused.value.attempts_remaining == 4
        paid = await alice.confirm(payment, f"\u200a{right[:3]}\u2011\u3000{right[3:]}\n-")

        assert paid.status == "succeeded"
        assert (await alice.confirm(payment, code)).replayed, "the same code, however it is typed"
