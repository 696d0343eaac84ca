"""The settings of a service become those of an engine."""

import logging

import pytest
from support.fixtures.engine_setup import SECRET
from support.fixtures.store_setup import Setup

from technopay.cli.service import engine_settings, make_store, report_live_codes
from technopay.cli.settings import Settings
from technopay.engine import Engine, EngineSettings
from technopay.engine.commands import BindSecret
from technopay.engine.settings import key_id_of
from technopay.storage import RedisStore

NEXT = "the next secret, of tests and of tests alone"


@pytest.mark.parametrize(
    ("limits", "demo", "expected"),
    [
        ({}, False, (5, 5, 10)),
        ({"codes_per_hour": 1, "confirms_per_minute": 2, "failures_per_day": 3}, False, (1, 2, 3)),
        ({"codes_per_hour": 0, "failures_per_day": 0}, False, (None, 5, None)),
        ({"codes_per_hour": 1, "confirms_per_minute": 2, "failures_per_day": 3}, True, (None, None, None)),
    ],
)
def test_the_limits_on_behaviour_are_those_of_the_settings_and_a_demo_has_none(
    limits: dict[str, int], demo: bool, expected: tuple[int | None, ...]
) -> None:
    settings = Settings(code_lifetime_s=60).model_copy(update=limits)

    made = engine_settings(settings, SECRET, demo=demo)

    assert (made.codes_per_hour, made.confirms_per_minute, made.failures_per_day) == expected
    assert (made.secret, made.code_lifetime_s) == (SECRET, 60)


async def test_live_codes_and_encrypted_records_of_each_of_several_secrets_are_logged(
    fake_store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    setup = Setup(fake_store)
    await setup.user("alice")
    wallet = await setup.wallet()
    for secret in (SECRET, SECRET, NEXT):
        payment_id = await setup.started(wallet, await setup.invoice())
        await setup.write_code(payment_id, key=key_id_of(secret))
    async with Engine(fake_store, EngineSettings(secret=SECRET)) as engine:
        await engine.create_webhook(url="https://example.com/webhooks")

    caplog.clear()
    await report_live_codes(fake_store, Settings(secret=SECRET), SECRET)
    assert not caplog.messages
    await report_live_codes(fake_store, Settings(secret=NEXT, secret_previous=[SECRET]), NEXT)
    await fake_store.run(BindSecret([key_id_of(SECRET), key_id_of(NEXT)]))
    await report_live_codes(fake_store, Settings(secret=NEXT), NEXT)
    sealed = "1 of item 1 of TECHNOPAY_SECRET_PREVIOUS"
    previous = "2 of item 1 of TECHNOPAY_SECRET_PREVIOUS"
    assert caplog.messages == [
        f"live codes: 1 of TECHNOPAY_SECRET, {previous}, 0 of secrets that are not set here",
        f"encrypted records: 0 of TECHNOPAY_SECRET, {sealed}, 0 of secrets that are not set here",
        "live codes: 1 of TECHNOPAY_SECRET, 2 of secrets that are not set here",
        "encrypted records: 0 of TECHNOPAY_SECRET, 1 of secrets that are not set here",
    ]


@pytest.mark.parametrize("redis_url", [None, "redis://127.0.0.1:1"])
@pytest.mark.parametrize("demo", [False, True])
def test_only_a_store_for_a_demo_refuses_one_that_no_demo_made(redis_url: str | None, demo: bool) -> None:
    store = make_store(Settings(redis_url=redis_url), initialise=False, demo=demo)

    assert store.is_for_demo is demo
