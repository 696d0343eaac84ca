from typing import Any

import pytest

from technopay.engine import EngineSettings
from technopay.engine.settings import key_id_of

SECRET = "0123456789abcdef0123456789abcdef"


def test_a_secret_is_all_that_is_needed() -> None:
    settings = EngineSettings(secret=SECRET)

    assert (settings.code_lifetime_s, settings.code_attempts, settings.code_resends) == (300, 5, 3)
    assert (settings.settlement_timeout_s, settings.idempotency_kept_s) == (5.0, 72 * 3600)
    assert (settings.mailbox_capacity, settings.settlements_max) == (1_000, 10_000)
    assert (settings.codes_per_hour, settings.confirms_per_minute, settings.failures_per_day) == (5, 5, 10)


def test_a_short_secret_is_refused_with_its_length() -> None:
    with pytest.raises(ValueError, match="the secret has 31 characters; it needs 32"):
        EngineSettings(secret=SECRET[:31])


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(EngineSettings(secret=SECRET))


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_attempts": 6},
        {"code_attempts": 0},
        {"mailbox_capacity": 0},
        {"codes_per_hour": -1},
        {"confirms_per_minute": True},
        {"code_lifetime_s": 300.0},
        {"code_lifetime_s": "300"},
        {"drain_s": float("nan")},
        {"drain_s": float("inf")},
        {"agenda_interval_s": None},
        {"secret": None},
        {"secret": SECRET.encode()},
        {"secret": 10**40},
        {"previous_secrets": SECRET[::-1]},
        {"previous_secrets": (5,)},
        {"failures_per_day": -1},
        {"settlement_timeout_s": 0},
        {"message_timeout_s": -1.0},
    ],
)
def test_values_that_cannot_work_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has to be|the secret has") as refused:
        EngineSettings(**({"secret": SECRET} | wrong))
    assert next(iter(wrong)) in str(refused.value)


@pytest.mark.parametrize("name", ["codes_per_hour", "confirms_per_minute", "failures_per_day"])
@pytest.mark.parametrize("lifted", [0, None])
def test_a_limit_on_behaviour_can_be_lifted(name: str, lifted: int | None) -> None:
    lifting: dict[str, Any] = {name: lifted}
    assert not getattr(EngineSettings(secret=SECRET, **lifting), name)


def test_each_purpose_and_each_secret_has_a_key_of_its_own() -> None:
    one, other = EngineSettings(secret=SECRET), EngineSettings(secret=SECRET[::-1])
    keys = {settings.derive_key(purpose) for settings in (one, other) for purpose in ("code", "digest")}

    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}
    assert one.derive_key("code") == EngineSettings(secret=SECRET).derive_key("code")


def test_the_id_of_a_secret_tells_it_from_others_and_nothing_of_it() -> None:
    one, other = EngineSettings(secret=SECRET), EngineSettings(secret=SECRET[::-1])

    assert key_id_of(one.secret) != key_id_of(other.secret)
    assert len(key_id_of(one.secret)) == 8
    assert one.derive_key("code").hex()[:8] != key_id_of(one.secret)
