from __future__ import annotations

from typing import Any

import pytest

from technopay.engine import FixedCode, MessageCode
from technopay.engine.ports import PaymentTerms

TERMS = PaymentTerms("pay_001", 1_234, "EUR", "bookshop")
VERIFIER = MessageCode(code_key=b"code key", digest_key=b"digest key")


async def code_of(terms: PaymentTerms, issue: int = 1, verifier: MessageCode = VERIFIER) -> str:
    code = await verifier.code(terms, issue)
    assert code is not None
    return code


async def test_a_code_is_six_digits_and_always_the_same_for_one_issue() -> None:
    code = await code_of(TERMS)

    assert len(code) == 6
    assert code.isdecimal()
    assert await code_of(TERMS) == code


async def test_codes_keep_their_leading_zeros_and_are_spread_evenly() -> None:
    codes = [await code_of(TERMS._replace(payment_id=f"pay_{number}")) for number in range(2_000)]

    assert {len(code) for code in codes} == {6}
    first_digits = [code[0] for code in codes]
    assert all(130 < first_digits.count(digit) < 270 for digit in "0123456789")


@pytest.mark.parametrize(
    "change",
    [{"payment_id": "pay_002"}, {"amount": 1_235}, {"currency": "USD"}, {"merchant": "bookshop2"}],
    ids=["payment", "amount", "currency", "payee"],
)
async def test_a_code_is_bound_to_what_the_user_agrees_to(change: dict[str, Any]) -> None:
    other = TERMS._replace(**change)

    assert await code_of(other) != await code_of(TERMS)
    assert await VERIFIER.begin(other, 1) != await VERIFIER.begin(TERMS, 1)


async def test_a_code_is_bound_to_its_issue_and_key() -> None:
    other = MessageCode(code_key=b"other", digest_key=b"digest key")

    assert len({await code_of(TERMS, issue) for issue in range(1, 5)}) == 4
    assert await code_of(TERMS, verifier=other) != await code_of(TERMS)


async def test_the_digest_of_the_code_is_what_the_right_answer_gives() -> None:
    assert await VERIFIER.check("pay_001", await code_of(TERMS)) == await VERIFIER.begin(TERMS, 1)


async def test_a_digest_depends_on_its_key_the_payment_and_the_answer() -> None:
    other = MessageCode(code_key=b"code key", digest_key=b"other")
    digests = {
        await VERIFIER.check("pay_001", "123456"),
        await VERIFIER.check("pay_002", "123456"),
        await VERIFIER.check("pay_001", "123457"),
        await VERIFIER.check("pay_001", " 123456"),
        await other.check("pay_001", "123456"),
    }

    assert len(digests) == 5
    assert not any("123456" in digest for digest in digests)


@pytest.mark.parametrize("answer", ["", "٣٣٣٣٣٣", "x" * 64, "\x00", "\ud800", "12345🐙"])
async def test_any_answer_gives_evidence(answer: str) -> None:
    assert len(await VERIFIER.check("pay_001", answer)) == 22


async def test_the_fixed_code_is_right_for_every_payment_and_is_never_sent() -> None:
    verifier = FixedCode("4711")

    assert await verifier.check("pay_001", "4711") == await verifier.begin(TERMS, 1)
    assert await verifier.check("pay_001", "4712") != await verifier.begin(TERMS, 1)
    assert await verifier.code(TERMS, 1) is None
