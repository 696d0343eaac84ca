"""Changed addresses: earlier codes are dead, a resend goes to the new one, attempts stay bounded."""

import pytest
from support.fixtures.dumps import dump
from support.fixtures.store_commands import list_messages, read_outbox, take_due
from support.fixtures.store_setup import NEXT, RIGHT, WRONG, Setup, client_of, operation, value_of

from technopay.engine.commands import UpdateUser
from technopay.engine.models import User
from technopay.engine.values import Operation

NEW = "new@example.com"


def update(
    email: str | None = None, phone: str | None = None, *, sets: str = "email", called: Operation | None = None
) -> UpdateUser:
    """Make the command; `sets` has the names of what is set."""
    return UpdateUser(called or operation(), "alice", "email" in sets, email, "phone" in sets, phone)


async def addresses(setup: Setup, command: UpdateUser) -> tuple[str | None, str | None]:
    user: User = await setup.done(command)
    return user.email, user.phone


async def test_an_address_is_set_kept_and_cleared(setup: Setup) -> None:
    assert await addresses(setup, update(NEW)) == (NEW, None)
    assert await addresses(setup, update(phone="+15550100", sets="phone")) == (NEW, "+15550100")
    assert await addresses(setup, update(None)) == (None, "+15550100")
    assert await addresses(setup, update(sets="email phone")) == (None, None)
    assert "email" not in await setup.fields("user", "alice")
    missing = UpdateUser(operation(), "nobody", True, NEW, False, None)
    assert (await setup.run(missing)).code == "user_not_found"


async def test_a_change_that_changes_nothing_writes_nothing(setup: Setup) -> None:
    await setup.done(update(NEW))
    before = await dump(setup.store)
    for command in (update(NEW), update(sets=""), update(NEW, None, sets="email phone")):
        await setup.done(command)
    assert await dump(setup.store) == before


async def test_the_old_code_costs_an_attempt_and_a_resend_makes_a_new_one(setup: Setup) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    await setup.done(update(NEW))

    assert (await setup.confirm(payment, RIGHT)).code == "confirmation_invalid"
    assert (await setup.payment(payment)).confirmation.attempts_remaining == 4  # type: ignore[union-attr]
    resent = value_of(await setup.resend(payment))
    assert resent.confirmation
    assert resent.confirmation.sent_to == "n***@example.com"
    assert (resent.confirmation.attempts_remaining, resent.confirmation.resends_remaining) == (4, 2)
    assert (await setup.confirm(payment, RIGHT)).code == "confirmation_invalid"
    assert (await setup.confirm(payment, NEXT)).code == "ok"


async def test_a_change_and_back_leaves_the_old_code_dead(setup: Setup) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    await setup.done(update(NEW))
    await setup.done(update("alice@example.com"))

    assert (await setup.confirm(payment, RIGHT)).code == "confirmation_invalid"


async def test_changes_give_no_attempts_and_no_resends(setup: Setup) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice(), resends=1)
    assert (await setup.resend(payment)).code == "ok"
    for number in range(4):
        await setup.done(update(f"{number}@example.com"))
        assert (await setup.confirm(payment, WRONG)).code == "confirmation_invalid"
        assert (await setup.resend(payment, 3)).code == "rate_limited"
    await setup.done(update(NEW))
    assert (await setup.confirm(payment, NEXT)).details["attempts_remaining"] == 0
    assert (await setup.payment(payment)).status == "failed"


async def test_codes_of_starts_after_a_change_are_good_and_an_accepted_code_stays_accepted(
    setup: Setup,
) -> None:
    wallet = await setup.wallet()
    accepted, _ = await setup.processing(wallet)
    await setup.done(update(NEW))
    assert (await setup.confirm(accepted)).replayed, "the money is taken: its code is no longer asked for"
    payment = await setup.started(wallet, await setup.invoice())
    assert (await setup.confirm(payment)).code == "ok"


async def test_a_resend_uses_the_address_that_is_left_and_needs_one(setup: Setup) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    await setup.done(update(None, "+15550100", sets="email phone"))
    resent = value_of(await setup.resend(payment))
    assert resent.confirmation
    assert (resent.confirmation.method, resent.confirmation.sent_to) == ("sms", "+1•••0100")

    await setup.done(update(sets="phone"))
    refused = await setup.resend(payment, 3)
    assert refused.code == "no_channel"
    assert (await setup.confirm(payment, NEXT)).code == "confirmation_invalid"


async def test_a_code_that_was_not_sent_yet_is_not_sent_to_the_new_address(setup: Setup) -> None:
    await setup.started(await setup.wallet(), await setup.invoice())
    await setup.done(update(NEW))
    outbox = await read_outbox(setup.store, "relay-a", 100)
    assert outbox
    [code] = outbox.notifications
    assert code.context
    assert (code.code_version, code.context.code_version) == (1, None)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (update(NEW), [("email", "alice@example.com", "removed"), ("email", NEW, "added")]),
        (update(None), [("email", "alice@example.com", "removed")]),
        (update(phone="+15550100", sets="phone"), [("sms", "+15550100", "added")]),
    ],
)
async def test_every_address_that_was_there_or_is_new_gets_a_message(
    setup: Setup, command: UpdateUser, expected: list[tuple[str, str, str]]
) -> None:
    before = await setup.journal()
    await setup.done(command)
    await setup.run(command)
    news = await setup.news(before)
    assert [kind for kind, _ in news] == ["user.address_changed"] * len(expected)
    assert "@" not in str(news), "the journal, which is kept for ever, has no addresses"
    due = await take_due(setup.store, 10)
    found = [
        (each.channel, each.notification.context.email, each.notification.reason)
        for each in due.messages
        if each.notification.context
    ]
    assert found == expected
    assert {each.notification.kind for each in due.messages} == {"user.address_changed"}
    # They are listed once the relay has passed their entries.
    outbox = await read_outbox(setup.store, "relay-a", 100)
    assert outbox
    await client_of(setup.store).hset(setup.keys.key("relay"), "cursor", outbox.cursor)
    listed = await list_messages(setup.store, "waiting", "alice", "", 10)
    assert [(each.channel, each.to) for each in reversed(listed.data)] == [each[:2] for each in expected]


async def test_a_user_with_many_payments_is_changed_in_one_small_step(setup: Setup) -> None:
    wallet = await setup.wallet()
    payments = [await setup.started(wallet, await setup.invoice()) for _ in range(20)]
    codes = [await setup.code(payment) for payment in payments]
    await setup.done(update(NEW))
    assert [await setup.code(payment) for payment in payments] == codes, "no payment is written"
    for payment in payments[:3]:
        assert (await setup.confirm(payment)).code == "confirmation_invalid"
