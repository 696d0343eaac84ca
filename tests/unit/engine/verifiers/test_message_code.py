from typing import Any

import pytest
from support.fixtures.engine_setup import SECRET, quick_settings

from technopay.engine import ANY, FixedCode, MessageCode
from technopay.engine.values import PaymentTerms
from technopay.engine.verifiers.code_keys import CodeKeys, matching_versions

TERMS = PaymentTerms("pay_001", 1_234, "EUR", "bookshop")
VERIFIER = MessageCode(code_key=b"code key")
VERSIONS = frozenset(range(1, 5))
NEXT_SECRET = "the next secret, for tests and for tests alone"


async def code_of(terms: PaymentTerms, version: int = 1, verifier: MessageCode = VERIFIER) -> str:
    code = await verifier.code(terms, version)
    assert code is not None
    return code


async def test_a_code_is_six_digits_and_always_the_same_for_one_version() -> None:
    code = await code_of(TERMS)

    assert len(code) == 6
    assert code.isdecimal()
    assert await code_of(TERMS) == code


async def test_a_code_is_derived_as_it_always_was() -> None:
    """Codes sent before an upgrade are still right after it."""
    settings = quick_settings(secret="a secret for tests, and for tests alone")
    verifier = MessageCode(code_key=settings.derive_key("code"))

    assert [await code_of(TERMS, version, verifier) for version in (1, 2)] == ["365491", "944689"]


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
    assert await VERIFIER.check(other, await code_of(TERMS), VERSIONS) == set()


async def test_a_code_is_bound_to_its_version_and_key() -> None:
    other = MessageCode(code_key=b"other")

    assert len({await code_of(TERMS, version) for version in VERSIONS}) == 4
    assert await code_of(TERMS, verifier=other) != await code_of(TERMS)


async def test_an_answer_matches_every_version_that_has_this_code() -> None:
    # One payment in a million has two versions with the same code; this one was searched for.
    terms = TERMS._replace(payment_id="pay_2342761")

    assert await VERIFIER.check(terms, await code_of(terms), VERSIONS) == {1, 2}
    assert await VERIFIER.check(TERMS, await code_of(TERMS, 3), VERSIONS) == {3}
    assert await matching_versions(VERIFIER, terms, await code_of(terms), 4) == ",1,2,"


async def test_all_versions_are_derived_whatever_the_answer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[int] = []
    derive = MessageCode._derive

    def spy(self: MessageCode, begin: bytes, end: bytes, version: int) -> bytes:
        derived.append(version)
        return derive(self, begin, end, version)

    answers = [await code_of(TERMS, version) for version in VERSIONS] + ["", "wrong"]
    monkeypatch.setattr(MessageCode, "_derive", spy)
    for answer in answers:
        derived.clear()
        await VERIFIER.check(TERMS, answer, VERSIONS)
        assert sorted(derived) == sorted(VERSIONS)


@pytest.mark.parametrize("answer", ["", "٣٣٣٣٣٣", "x" * 64, "\x00", "\ud800", "12345🐙"])
async def test_any_answer_can_be_compared_and_has_a_digest(answer: str) -> None:
    assert await VERIFIER.check(TERMS, answer, VERSIONS) == set()
    key_id, digest = CodeKeys(quick_settings(), None).digests("pay_001", answer).split(":")
    assert (len(key_id), len(digest)) == (8, 22)


def test_a_digest_depends_on_its_key_the_payment_and_the_answer() -> None:
    one, other = CodeKeys(quick_settings(), None), CodeKeys(quick_settings(secret=NEXT_SECRET), None)
    digests = {
        one.digests("pay_001", "123456"),
        one.digests("pay_002", "123456"),
        one.digests("pay_001", "123457"),
        other.digests("pay_001", "123456"),
    }

    assert len({digest.split(":")[1] for digest in digests}) == 4
    assert not any("123456" in digest.split(":")[1] for digest in digests)


def test_the_digest_under_the_current_key_comes_first() -> None:
    settings = quick_settings(secret=NEXT_SECRET, previous_secrets=(SECRET,))
    keys = CodeKeys(settings, None)

    assert [each.split(":")[0] for each in keys.digests("pay_001", "1").split(" ")] == list(keys.ids)
    assert keys.current == CodeKeys(quick_settings(secret=NEXT_SECRET), None).current


async def test_the_fixed_code_is_right_for_every_version_and_is_never_sent() -> None:
    verifier = FixedCode("4711")

    assert await verifier.check(TERMS, "4711", VERSIONS) is ANY
    assert await verifier.check(TERMS, "4712", VERSIONS) == frozenset()
    assert await verifier.code(TERMS, 1) is None


async def test_what_a_verifier_returns_is_held_to_the_versions_that_were_asked_for() -> None:
    class Sloppy(FixedCode):
        async def check(self, terms: PaymentTerms, answer: str, versions: Any) -> Any:
            return {1, 9, "2", "*"} if answer == "set" else True

    assert await matching_versions(Sloppy(), TERMS, "set", 4) == ",1,"
    with pytest.raises(TypeError):
        await matching_versions(Sloppy(), TERMS, "true", 4)
