"""Lists for operators: complete, newest first, by every filter, and bounded."""

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.lists import read_all
from support.fixtures.store_setup import FAR, Setup, client_of, new_invoice

from technopay.engine.reads import SearchInvoices, SearchPayments, SearchUsers, SearchWallets

MINUTE_MS = 60_000


@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_users_are_listed_newest_first_and_found_by_id_and_status(setup: Setup, limit: int) -> None:
    for user in ("bob", "carol", "dave"):
        await setup.user(user)
    await setup.set_user_status("blocked", "carol")

    async def found(user: str | None = None, status: str | None = None) -> list[str]:
        return await read_all(setup, lambda *page: SearchUsers(user, status, None, *page), limit)

    assert await found() == ["dave", "carol", "bob", "alice"]
    assert await found(status="blocked") == ["carol"]
    assert await found("bob") == ["bob"]
    assert await found("bob", "blocked") == await found("nobody") == []


@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_wallets_are_listed_newest_first_and_found_by_user_and_status(setup: Setup, limit: int) -> None:
    await setup.user("bob")
    first, of_bob, second = [await setup.wallet(user) for user in ("alice", "bob", "alice")]
    await setup.set_wallet_status(first, "inactive")

    async def found(user: str | None = None, status: str | None = None) -> list[str]:
        return await read_all(setup, lambda *page: SearchWallets(user, status, *page), limit)

    assert await found() == [second, of_bob, first]
    assert await found(status="inactive") == [first]
    assert await found("alice") == [second, first]
    assert await found("alice", "active") == [second]
    assert await found("bob", "inactive") == await found("nobody") == []


@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_invoices_are_listed_newest_first_and_found_by_every_filter(setup: Setup, limit: int) -> None:
    await setup.user("bob")

    async def enter(user: str, merchant: str, reference: str | None) -> str:
        return (await setup.done(new_invoice(user, 100, "EUR", FAR, reference, merchant=merchant))).id

    void, taken = await enter("alice", "Shop", "R-1"), await enter("bob", "Shop", "R-2")
    other = await enter("alice", "Bakery", "R-2")
    await setup.void(void)
    holder = await enter("alice", "Shop", "R-1")
    plain = await enter("alice", "Shop", None)
    await setup.started(await setup.wallet(), plain)
    payment = await setup.started(await setup.wallet("bob"), taken, "bob")
    await setup.confirm(payment, user_id="bob")
    expired = await enter("alice", "Shop", None)
    await setup.write("invoice", expired, expires_at="1")

    async def found(
        user: str | None = None,
        merchant: str | None = None,
        reference: str | None = None,
        status: str | None = None,
    ) -> list[str]:
        return await read_all(
            setup, lambda *page: SearchInvoices(user, merchant, reference, status, *page), limit
        )

    assert await found() == [expired, plain, holder, other, taken, void]
    assert await found(status="processing") == [taken]
    assert await found(status="expired") == [expired]
    assert await found(status="open") == [plain, holder, other]
    assert await found(merchant="Bakery") == [other]
    assert await found(reference="R-2") == [other, taken]
    assert await found(merchant="Shop", reference="R-1") == [holder], "the one that has it now"
    assert await found(merchant="Shop", reference="R-1", status="void") == []
    assert await found(merchant="Shop", reference="R-9") == []
    assert await found("bob") == [taken]
    assert await found("alice", merchant="Shop", status="void") == [void]
    assert await found("bob", "Shop", "R-2") == [taken]
    assert await found("alice", "Shop", "R-2") == await found("nobody") == []


@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_payments_of_an_invoice_are_found_ended_ones_too(setup: Setup, limit: int) -> None:
    await setup.user("bob")
    wallet, invoice = await setup.wallet(), await setup.invoice()
    ended = [await setup.started(wallet, invoice) for _ in range(3)]
    live = await setup.started(wallet, invoice)
    await setup.started(wallet, await setup.invoice())
    others = await setup.started(await setup.wallet("bob"), await setup.invoice("bob"), "bob")

    async def found(invoice_id: str, user: str | None = None, status: str | None = None) -> list[str]:
        return await read_all(
            setup, lambda cursor, most: SearchPayments(status, user, None, cursor, most, invoice_id), limit
        )

    assert await found(invoice) == [live, *ended[::-1]]
    assert await found(invoice, status="canceled") == ended[::-1]
    assert await found(invoice, user="alice", status="requires_confirmation") == [live]
    assert await found(invoice, user="bob") == await found("inv_00none") == await found("unknown") == []
    assert others not in await found(invoice)


async def in_range(setup: Setup, first: int | None, end: int | None, limit: int = 100) -> list[str]:
    def make(cursor: str, most: int) -> SearchPayments:
        return SearchPayments(None, None, None, cursor, most, created_from=first, created_to=end)

    return await read_all(setup, make, limit)


async def test_a_time_range_has_every_payment_in_it_also_after_the_clock_went_back(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    began_at = fake_clock.now_ms
    at: dict[str, int] = {}
    for step_ms in (1, MINUTE_MS, -50 * MINUTE_MS, 1, MINUTE_MS, 90 * MINUTE_MS, -10 * MINUTE_MS, 5):
        fake_clock.advance(step_ms)
        for _ in range(2):
            at[await clocked.started(wallet, await clocked.invoice())] = fake_clock.now_ms
    times = sorted({*at.values()})
    assert times[0] < began_at, "the clock went back"
    for first in (None, times[0] - 1, *times, times[-1] + 1):
        for end in (None, *times, times[-1] + 1):
            if first is not None and end is not None and first >= end:
                continue
            expected = [
                payment
                for payment in reversed(at)
                if (first is None or at[payment] >= first) and (end is None or at[payment] < end)
            ]
            for limit in (1, 100):
                assert await in_range(clocked, first, end, limit) == expected, (first, end)


async def test_a_time_range_reads_no_entries_outside_it(clocked: Setup, fake_clock: FakeClock) -> None:
    wallet = await clocked.wallet()
    first = await clocked.started(wallet, await clocked.invoice())
    began_at = fake_clock.now_ms
    fake_clock.advance(MINUTE_MS)
    client = client_of(clocked.store)
    for number in range(5_000):
        entry = f"{fake_clock.now_ms + number}-0"
        await client.xadd(clocked.keys.key("journal"), {"payment.started": "pay_00gone"}, id=entry)

    page = await clocked.done(SearchPayments(None, None, None, "", 10, created_to=began_at + 1))
    assert ([each.id for each in page.data], page.next_cursor) == ([first], None)
    page = await clocked.done(SearchPayments(None, None, None, "", 10, created_from=fake_clock.now_ms + 5_000))
    assert (page.data, page.next_cursor) == ([], None)
    # Without a range one call is not enough, and says so.
    page = await clocked.done(SearchPayments(None, None, None, "", 10))
    assert (page.data, page.has_more) == ([], True)
    assert await in_range(clocked, None, None) == [first]


async def test_a_store_of_an_earlier_version_is_searched_from_its_end(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    await client_of(clocked.store).hdel(clocked.keys.key("meta"), "clock_behind_ms")
    wallet = await clocked.wallet()
    fake_clock.advance(-60 * MINUTE_MS)
    payment = await clocked.started(wallet, await clocked.invoice())

    assert await in_range(clocked, fake_clock.now_ms, fake_clock.now_ms + 1) == [payment]
