"""The tree of errors against the contract, and against the possible codes of the store's scripts."""

import re
from importlib import resources

import pytest
from support.fixtures.doubles import make_payment

from technopay import engine
from technopay.engine import (
    EngineClosed,
    Fault,
    FieldError,
    InsufficientFunds,
    PaymentNotRefundable,
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

REFUSED = {
    "validation_failed", "user_blocked", "wallet_inactive", "user_not_found", "wallet_not_found",
    "invoice_not_found", "payment_not_found", "user_exists", "reference_used", "invoice_already_paid",
    "invoice_not_payable", "invoice_not_voidable", "payment_in_progress", "payment_not_confirmable",
    "payment_not_cancelable", "payment_not_refundable", "payment_not_resolvable", "invoice_expired",
    "refund_too_large", "refund_in_progress",
    "confirmation_expired", "insufficient_funds", "daily_limit_exceeded", "settlement_failed",
    "currency_mismatch", "balance_too_large", "no_channel", "confirmation_invalid", "rate_limited",
    "idempotency_key_reused", "event_position_unknown", "webhook_not_found", "delivery_not_found",
}  # fmt: skip
FAULTS = {
    "wallet_busy", "overloaded", "store_unavailable", "archive_unavailable", "outcome_unknown",
    "internal_error",
}  # fmt: skip
RETRYABLE = FAULTS - {"internal_error"} | {"rate_limited", "refund_in_progress"}

INTERNAL_CODES = {
    "foreign", "key_unknown", "ok", "replayed", "busy", "fenced", "bounds", "code_version", "claim_lost",
    "expiry_past", "in_use", "done", "no_page", "nothing", "conflict", "webhooks_full",
    "kept", "limit_short", "short", "recall", "recalling", "called_off", "error", "expired", "global_period",
    "more", "needed", "reference_archived",
}  # fmt: skip
"""Codes and words of scripts that are no refusals."""
MOCK_STATES = {"settled", "declined", "called_off", "reversed", "not_found"}
RAISED_BY_THE_ENGINE_ITSELF = {"settlement_failed", "validation_failed", "not_found", "event_position_unknown"}


def class_named(code: str) -> type[TechnopayError]:
    found: type[TechnopayError] = getattr(engine, "".join(word.title() for word in code.split("_")))
    return found


def codes_of_scripts() -> set[str]:
    """Collect every possible code of a script."""
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


@pytest.mark.parametrize("code", sorted(REFUSED | FAULTS))
def test_every_code_of_the_contract_has_a_class_with_its_name(code: str) -> None:
    cls = class_named(code)

    assert issubclass(cls, Fault if code in FAULTS else Refusal)
    assert cls.code == code
    assert cls.retryable == (code in RETRYABLE)
    assert cls.message.endswith(".")


def test_there_are_no_classes_beside_those_of_the_contract() -> None:
    exported = {getattr(engine, name) for name in engine.__all__}
    errors = {each for each in exported if isinstance(each, type) and issubclass(each, TechnopayError)}
    leaves = errors - {TechnopayError, Refusal, Fault}

    assert {cls.code for cls in leaves} == {*REFUSED, *FAULTS, "not_found"}
    assert len(leaves) == len(REFUSED) + len(FAULTS) + 2, "and EngineClosed, and MessageNotFound"


def test_the_codes_of_scripts_and_of_the_engine_itself_are_those_of_the_refusals() -> None:
    codes = codes_of_scripts()

    assert len(codes - INTERNAL_CODES) > 20, "the scripts were read"
    assert codes - INTERNAL_CODES - MOCK_STATES <= REFUSALS.keys()
    assert REFUSALS.keys() - codes == RAISED_BY_THE_ENGINE_ITSELF


def test_a_code_names_one_class() -> None:
    assert all(cls.code == code for code, cls in REFUSALS.items() if code != "message_not_found")
    assert REFUSALS["message_not_found"] is engine.MessageNotFound


def test_a_closed_engine_is_unavailable_and_an_unfit_store_is_outside_the_tree() -> None:
    assert issubclass(EngineClosed, StoreUnavailable)
    assert str(EngineClosed()) == "The engine is not running. Nothing happened."
    assert issubclass(StoreUninitialised, StoreUnfit)
    assert not issubclass(StoreUnfit, TechnopayError)


def test_a_refusal_carries_what_helps_and_none_of_the_rest() -> None:
    refusal = InsufficientFunds(required=10, available=5)

    assert (refusal.required, refusal.available, refusal.payment, refusal.limit) == (10, 5, None, None)
    assert (refusal.attempts_remaining, refusal.retry_after_s, refusal.replayed) == (None, None, False)
    assert str(refusal) == "The wallet holds less than the amount."
    assert str(InsufficientFunds("Too little.")) == "Too little."


def test_a_refused_refund_of_a_payment_that_was_set_aside_names_the_way_out() -> None:
    refusal = PaymentNotRefundable(payment=make_payment(set_aside=True))

    assert str(refusal).endswith("its settlement is unknown: resolve it with the outcome 'refund'.")
    assert str(PaymentNotRefundable(payment=make_payment())) == PaymentNotRefundable.message


@pytest.mark.parametrize("too_many", sorted(TOO_MANY))
def test_a_rate_limit_names_its_rule_and_the_time_of_the_next_try(too_many: str) -> None:
    refusal = RateLimited(too_many=too_many, retry_after_s=41.2)

    is_final = too_many == "resends"
    assert (refusal.too_many, refusal.retry_after_s, refusal.retryable) == (too_many, 41.2, not is_final)
    assert str(refusal) == TOO_MANY[too_many] + ("" if is_final else " Try again in 42 seconds.")


def test_a_failed_validation_carries_the_errors_by_field() -> None:
    refusal = ValidationFailed([FieldError("amount", "has to be more")])

    assert refusal.errors == (FieldError("amount", "has to be more"),)
    assert refusal.code == "validation_failed"
