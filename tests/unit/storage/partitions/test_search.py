"""Lists for operators over all partitions, and those that one partition has."""

import asyncio
from typing import Any

import pytest
from support.fixtures.lists import Make, read_all
from support.fixtures.partitioned import USERS
from support.fixtures.store_setup import FAR, Setup, new_invoice

from technopay.engine.commands import Command
from technopay.engine.reads import SearchInvoices, SearchPayments, SearchUsers, SearchWallets
from technopay.engine.record import Page


@pytest.mark.parametrize("limit", [1, 3, 20])
async def test_records_of_all_partitions_are_one_list_newest_first(setup: Setup, limit: int) -> None:
    wallets, invoices, payments = [], [], []
    for number in range(9):
        user = USERS[number % 4]
        wallets.append(await setup.wallet(user))
        invoices.append(await setup.invoice(user))
        payments.append(await setup.started(wallets[-1], invoices[-1], user))
        await asyncio.sleep(0.002)  # places of one millisecond are in the order of partitions
    await setup.void(invoices[4])
    await setup.set_wallet_status(wallets[5], "inactive")
    await setup.set_user_status("blocked", "bob")
    cases: list[tuple[Make, list[str]]] = [
        (lambda *page: SearchWallets(None, None, *page), wallets),
        (lambda *page: SearchWallets(None, "inactive", *page), [wallets[5]]),
        (lambda *page: SearchInvoices(None, None, None, None, *page), invoices),
        (lambda *page: SearchInvoices(None, "Shop", None, "void", *page), [invoices[4]]),
        (lambda cursor, most: SearchPayments(None, None, None, cursor, most, None, 1), payments),
        (lambda *page: SearchPayments("canceled", None, None, *page), [payments[4]]),
        (lambda *page: SearchUsers(None, "blocked", None, *page), ["bob"]),
    ]
    for make, expected in cases:
        assert await read_all(setup, make, limit) == expected[::-1]
    users = await read_all(setup, lambda *page: SearchUsers(None, None, None, *page), limit)
    assert sorted(users) == sorted(USERS)


@pytest.mark.parametrize("limit", [1, 3, 20])
async def test_a_partition_that_has_all_of_the_newest_records_is_read_on(setup: Setup, limit: int) -> None:
    wallets = []
    for user in (*USERS, *["alice"] * 6):
        wallets.append(await setup.wallet(user))
        await asyncio.sleep(0.002)
    found = await read_all(setup, lambda *page: SearchWallets(None, None, *page), limit)
    assert found == wallets[::-1]


async def test_a_filter_by_user_invoice_or_reference_reads_the_partition_that_has_it(setup: Setup) -> None:
    invoices = {}
    for user in USERS:
        command = new_invoice(user, 100, "EUR", FAR, f"R-{user}")
        invoices[user] = (await setup.done(command)).id
    for user, invoice in invoices.items():
        payment = await setup.started(await setup.wallet(user), invoice, user)

        async def found(command: Command[Page[Any]]) -> list[str]:
            return [each.id for each in (await setup.done(command)).data]

        def of_reference(status: str | None, whose: str | None, named: str = user) -> SearchInvoices:
            return SearchInvoices(whose, "Shop", f"R-{named}", status, "", 10)

        assert await found(SearchPayments(None, None, None, "", 10, invoice_id=invoice)) == [payment]
        assert await found(SearchPayments(None, user, None, "", 10)) == [payment]
        assert await found(SearchUsers(user, None, None, "", 10)) == [user]
        assert len(await found(SearchWallets(user, None, "", 10))) == 1
        assert await found(of_reference(None, None)) == await found(of_reference("open", user)) == [invoice]
        other = USERS[USERS.index(user) - 1]
        assert await found(of_reference("void", None)) == await found(of_reference(None, other)) == []
        assert await found(SearchInvoices(None, "Shop", "R-none", None, "", 10)) == []
        assert await found(SearchInvoices(user, None, f"R-{user}", None, "", 10)) == [invoice]
