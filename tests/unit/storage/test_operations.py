"""An operation id stands for one call with its arguments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from support.fixtures.store_commands import send_again
from support.fixtures.store_setup import ALONE, DAY_MS, Setup, dump, new_invoice, operation, start_command

from technopay.engine import commands
from technopay.engine.commands import CreateUser, CreateWallet, ResolvePayment, SetUserStatus, VoidInvoice
from technopay.engine.models import from_ms
from technopay.engine.values import Operation

Call = Callable[[], Awaitable[Any]]


@pytest.mark.parametrize(
    "name",
    [
        "create_user", "create_wallet", "create_invoice", "deposit", "set_user_status", "set_wallet_status",
        "start_payment", "resend_code", "cancel_payment", "begin_refund", "resolve_payment", "void_invoice",
        "send_again",
    ],
)  # fmt: skip
async def test_an_operation_id_with_another_fingerprint_is_refused_and_changes_nothing(
    setup: Setup, name: str
) -> None:
    who = operation(fingerprint="one thing")
    other = Operation(who.operation_id, "another thing", who.kept_ms)
    assert (await setup.store.run(CreateUser(who, "bob", None, "+15550100"))).code == "ok"
    wallet = await setup.wallet()
    invoice = await setup.invoice()
    payment = await setup.started(wallet, invoice)
    before = await dump(setup.store)

    store = setup.store
    at = from_ms(await setup.now_ms() + DAY_MS)
    call: dict[str, Call] = {
        "create_user": lambda: store.run(CreateUser(other, "carol", None, None)),
        "create_wallet": lambda: store.run(CreateWallet(other, "wal_x", "alice", "EUR")),
        "create_invoice": lambda: store.run(replace(new_invoice("alice", 1, "EUR", at), operation=other)),
        "deposit": lambda: store.run(commands.Deposit(other, wallet, 1), ALONE),
        "set_user_status": lambda: store.run(SetUserStatus(other, "alice", "blocked")),
        "set_wallet_status": lambda: store.run(commands.SetWalletStatus(other, wallet, "inactive"), ALONE),
        "start_payment": lambda: store.run(start_command(wallet, invoice, identity=other), ALONE),
        "resend_code": lambda: store.run(commands.ResendCode(other, payment, "alice", 2, 1), ALONE),
        "cancel_payment": lambda: store.run(commands.CancelPayment(other, payment, "alice"), ALONE),
        "begin_refund": lambda: store.run(commands.BeginRefund(other, payment, "ref_001"), ALONE),
        "resolve_payment": lambda: store.run(ResolvePayment(other, payment, "refund", "", "root")),
        "void_invoice": lambda: store.run(VoidInvoice(other, invoice)),
        "send_again": lambda: send_again(store, other, "msg_001-1"),
    }
    assert (await call[name]()).code == "idempotency_key_reused"

    assert await dump(setup.store) == before
