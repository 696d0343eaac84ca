"""An engine with one channel, or none: a code is sent by an existing channel only."""

from typing import Any, Literal

import pytest
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for

from technopay.engine import Engine, FixedCode, Message, NoChannel, Payment, RecordingChannel
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

Method = Literal["email", "sms"]
ADDRESSES: dict[str, dict[str, Any]] = {
    "both": {"email": "both@example.com", "phone": "+15550100"},
    "email": {"email": "email@example.com"},
    "phone": {"phone": "+15550101"},
}


async def start(engine: Engine, store: RedisStore, user: str, method: Method | None = None) -> Payment:
    setup = await make_setup(engine, store, user, **{"email": None, **ADDRESSES[user]})
    invoice = await setup.invoice()
    return await engine.start_payment(
        user_id=user, invoice_id=invoice.id, wallet_id=setup.wallet_id, method=method
    )


@pytest.mark.parametrize(
    ("channels", "user", "method", "expected"),
    [
        (["email", "sms"], "both", None, "email"),
        (["email", "sms"], "phone", None, "sms"),
        (["email"], "both", None, "email"),
        (["email"], "phone", None, None),
        (["email"], "both", "sms", None),
        (["sms"], "both", None, "sms"),
        (["sms"], "email", None, None),
        (["sms"], "both", "email", None),
        (["sms"], "phone", "sms", "sms"),
        ([], "both", None, None),
        ([], "both", "email", None),
    ],
)
async def test_a_code_goes_only_by_a_channel_that_there_is(
    store: RedisStore, channels: list[Method], user: str, method: Method | None, expected: str | None
) -> None:
    there = {name: RecordingChannel() for name in channels}
    async with Engine(store, quick_settings(), channels=there) as engine:
        if expected is None:
            with pytest.raises(NoChannel):
                await start(engine, store, user, method)
            return
        payment = await start(engine, store, user, method)
        assert payment.confirmation is not None
        assert payment.confirmation.method == expected

        async def sent() -> bool:
            return bool(there[expected].messages)

        await wait_for(sent)


async def test_other_messages_go_by_the_only_channel_and_are_listed_under_it(store: RedisStore) -> None:
    sms = RecordingChannel()
    async with Engine(store, quick_settings(), channels={"sms": sms}, verifier=FixedCode("1")) as engine:
        payment = await start(engine, store, "both")
        await engine.confirm_payment(user_id="both", payment_id=payment.id, code="1", wait_s=0)

        async def listed() -> Message | None:
            found = (await engine.list_messages()).data
            return next((each for each in found if each.kind == "payment.succeeded"), None)

        message = await wait_for(listed)

    assert message is not None
    assert (message.channel, message.status, message.attempts) == ("sms", "sent", 1)
    assert [each.kind for each in sms.messages] == ["payment.succeeded"]
