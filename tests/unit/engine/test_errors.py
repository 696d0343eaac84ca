"""The tree of errors against the contract, and against what the store's scripts can return."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from technopay import engine
from technopay.engine import (
    EngineClosed,
    Fault,
    FieldError,
    InsufficientFunds,
    RateLimited,
    Refusal,
    StoreUnavailable,
    StoreUnfit,
    StoreUninitialised,
    TechnopayError,
    ValidationFailed,
)
from technopay.engine.errors import REFUSALS, TOO_MANY
from technopay.engine.limits import LIMIT_RULES

REFUSED = [
    "validation_failed",
    "user_blocked",
    "wallet_inactive",
    "user_not_found",
    "wallet_not_found",
    "invoice_not_found",
    "payment_not_found",
    "user_exists",
    "reference_used",
    "invoice_already_paid",
    "invoice_not_payable",
    "invoice_not_voidable",
    "payment_in_progress",
    "payment_not_confirmable",
    "payment_not_cancelable",
    "payment_not_refundable",
    "payment_not_resolvable",
    "invoice_expired",
    "confirmation_expired",
    "insufficient_funds",
    "daily_limit_exceeded",
    "settlement_failed",
    "currency_mismatch",
    "balance_too_large",
    "no_channel",
    "confirmation_invalid",
    "rate_limited",
    "idempotency_key_reused",
]
FAULTS = {
    "wallet_busy": True,
    "overloaded": True,
    "store_unavailable": True,
    "outcome_unknown": True,
    "internal_error": False,
}
RETRYABLE_REFUSALS = {"rate_limited"}

INTERNAL_CODES = {
    "foreign",
    "key_unknown",
    "ok",
    "replayed",
    "busy",
    "fenced",
    "bounds",
    "code_version",
    "claim_lost",
    "expiry_past",
    "in_use",
    "done",
    "nothing",
    "error",
    "expired",
    "global_period",
}
"""Codes and words that scripts return and that are no refusals."""
MOCK_STATES = {"settled", "declined", "called_off", "reversed", "not_found"}
RAISED_BY_THE_ENGINE_ITSELF = {"settlement_failed", "validation_failed", "not_found"}


def class_named(code: str) -> type[TechnopayError]:
    found: type[TechnopayError] = getattr(engine, "".join(word.title() for word in code.split("_")))
    return found


def codes_of_scripts() -> set[str]:
    """Collect every code that a script can return."""
    found = {rule.refusal for rule in LIMIT_RULES}
    scripts = resources.files("technopay.storage") / "scripts"
    for folder in scripts.iterdir():
        for file in folder.iterdir() if folder.is_dir() else ():
            if not file.name.endswith(".lua"):
                continue
            text = "\n".join(line.partition("--")[0] for line in file.read_text().splitlines())
            found |= set(re.findall(r"\{'([a-z_]+)', at, ", text))
            found |= set(re.findall(r"\b(?:reply|refuse)\('([a-z_]+)'", text))
            found |= set(re.findall(r"\b(?:refusal = |return |reply\[1\] = )'([a-z_]+)'", text))
            for suffix in re.findall(r"kind \.\. '(_[a-z_]+)'", text):
                found |= {kind + suffix for kind in ("user", "wallet", "invoice")}
    return found


@pytest.mark.parametrize("code", REFUSED)
def test_every_refusal_of_the_contract_has_a_class_with_its_name(code: str) -> None:
    cls = class_named(code)

    assert issubclass(cls, Refusal)
    assert cls.code == code
    assert cls.retryable == (code in RETRYABLE_REFUSALS)
    assert cls.message.endswith(".")


@pytest.mark.parametrize("code", FAULTS)
def test_every_fault_of_the_contract_has_a_class_with_its_name(code: str) -> None:
    cls = class_named(code)

    assert issubclass(cls, Fault)
    assert cls.code == code
    assert cls.retryable == FAULTS[code]


def test_there_are_no_classes_beside_those_of_the_contract() -> None:
    exported = {getattr(engine, name) for name in engine.__all__}
    leaves = {
        cls
        for cls in exported
        if isinstance(cls, type)
        and issubclass(cls, TechnopayError)
        and cls not in (TechnopayError, Refusal, Fault)
    }

    assert {cls.code for cls in leaves} == {*REFUSED, *FAULTS, "not_found"}
    assert len(leaves) == len(REFUSED) + len(FAULTS) + 2, "and EngineClosed, and MessageNotFound"


def test_every_code_that_a_script_answers_has_its_exception() -> None:
    codes = codes_of_scripts()

    assert len(codes - INTERNAL_CODES) > 20, "the scripts were read"
    assert codes - INTERNAL_CODES - MOCK_STATES <= REFUSALS.keys()


def test_every_refusal_is_answered_by_some_script_or_raised_by_the_engine() -> None:
    assert REFUSALS.keys() - codes_of_scripts() == RAISED_BY_THE_ENGINE_ITSELF


def test_a_code_names_one_class() -> None:
    assert all(cls.code == code for code, cls in REFUSALS.items() if code != "message_not_found")
    assert REFUSALS["message_not_found"] is engine.MessageNotFound


def test_an_engine_that_is_closed_is_a_store_that_is_not_there() -> None:
    assert issubclass(EngineClosed, StoreUnavailable)
    assert str(EngineClosed()) == "The engine is not running. Nothing happened."


def test_a_store_that_must_not_be_used_is_outside_the_tree() -> None:
    assert issubclass(StoreUninitialised, StoreUnfit)
    assert not issubclass(StoreUnfit, TechnopayError)


def test_a_refusal_carries_what_helps_and_none_of_the_rest() -> None:
    refusal = InsufficientFunds(required=10, available=5)

    assert (refusal.required, refusal.available, refusal.payment, refusal.limit) == (10, 5, None, None)
    assert (refusal.attempts_remaining, refusal.retry_after_s, refusal.replayed) == (None, None, False)
    assert str(refusal) == "The wallet holds less than the amount."
    assert str(InsufficientFunds("Too little.")) == "Too little."


def test_a_code_that_was_sent_too_often_is_never_sent_again() -> None:
    refusal = RateLimited(too_many="resends", retry_after_s=41.2)

    assert (str(refusal), refusal.retryable) == (TOO_MANY["resends"], False)
    assert RateLimited(too_many="codes", retry_after_s=1.0).retryable


@pytest.mark.parametrize("too_many", sorted(TOO_MANY.keys() - {"resends"}))
def test_what_was_done_too_often_says_what_and_when_again(too_many: str) -> None:
    refusal = RateLimited(too_many=too_many, retry_after_s=41.2)

    assert (refusal.too_many, refusal.retry_after_s) == (too_many, 41.2)
    assert str(refusal) == f"{TOO_MANY[too_many]} Try again in 42 seconds."


def test_what_is_not_of_the_right_form_is_named_by_field() -> None:
    refusal = ValidationFailed([FieldError("amount", "has to be more")])

    assert refusal.errors == (FieldError("amount", "has to be more"),)
    assert refusal.code == "validation_failed"
