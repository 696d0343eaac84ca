"""The commands of wallets: each one script, its arguments in the order of the script's header."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from technopay.engine.commands import (
    BeginRefund,
    CancelPayment,
    Command,
    CompletePayment,
    ConfirmPayment,
    Deposit,
    ResendCode,
    SetWalletStatus,
    StartPayment,
)
from technopay.engine.errors import Fault, InternalError
from technopay.engine.models import OperatorPayment, Wallet, from_ms
from technopay.engine.ports import Lease, Outcome
from technopay.storage.base import Reply, ScriptRunner, ask_until_known, outcome_of, resolve
from technopay.storage.records import limit_from, payment_from, wallet_from
from technopay.storage.server.client import Argument

logger = logging.getLogger(__name__)

Values = tuple[Argument, ...]
NO_DETAILS: Mapping[str, Any] = {}


class CommandScripts(ScriptRunner):
    """Sends commands."""

    def send(self, command: Command, lease: Lease, hear: Callable[[Outcome[Any] | Fault], None]) -> None:
        """Send a command with all others of this loop tick; see the engine's store port."""
        name, list_values, build = CALLS[type(command)]
        values = list_values(command, lease)
        if type(command) in DATED:
            values += (self._calendar.days(self._now_ms),)

        def read(reply: Reply | Fault) -> None:
            if isinstance(reply, Fault):
                hear(reply)
                return
            try:
                outcome = build(reply)
            except Exception:
                logger.exception("the reply of %s cannot be read", name)
                hear(InternalError())
            else:
                hear(outcome)

        self._send(name, values, read)

    async def run(self, command: Command, lease: Lease) -> Outcome[Any]:
        """Send a command and wait for its outcome, without an actor: a lost reply is asked for again."""
        outcome = await ask_until_known(lambda: self._outcome(command, lease))
        if outcome.code == "bounds":
            outcome = await ask_until_known(lambda: self._outcome(command, lease))
        return outcome

    def _outcome(self, command: Command, lease: Lease) -> Future[Outcome[Any]]:
        outcome: Future[Outcome[Any]] = asyncio.get_running_loop().create_future()
        self.send(command, lease, partial(resolve, outcome))
        return outcome


def _start(command: StartPayment, lease: Lease) -> Values:
    operation = command.operation
    return (
        operation.id, operation.fingerprint, operation.kept_ms, lease.owner, lease.token, _keep(lease),
        command.payment_id, command.user_id, command.wallet_id, command.invoice_id, command.method,
        command.key_id, command.code_lifetime_ms, command.attempts, command.resends,
        most_of(command.codes_per_hour), most_of(command.failures_per_day),
    )  # fmt: skip


def _confirm(command: ConfirmPayment, lease: Lease) -> Values:
    return (
        command.operation.id, lease.owner, lease.token, _keep(lease),
        command.payment_id, command.user_id, *command.evidence,
        most_of(command.confirms_per_minute), most_of(command.failures_per_day),
    )  # fmt: skip


def _resend(command: ResendCode, lease: Lease) -> Values:
    return (
        *_named(command, lease),
        command.payment_id, command.user_id, command.issue, command.code_lifetime_ms,
        most_of(command.codes_per_hour), most_of(command.failures_per_day),
    )  # fmt: skip


def _cancel(command: CancelPayment, lease: Lease) -> Values:
    return (*_named(command, lease), command.payment_id, command.user_id)


def _deposit(command: Deposit, lease: Lease) -> Values:
    return (*_named(command, lease), command.wallet_id, command.amount)


def _set_status(command: SetWalletStatus, lease: Lease) -> Values:
    return (*_named(command, lease), command.wallet_id, command.status)


def _begin_refund(command: BeginRefund, lease: Lease) -> Values:
    return (*_named(command, lease), command.payment_id, command.refund_id)


def _complete(command: CompletePayment, lease: Lease) -> Values:  # noqa: ARG001
    return (command.payment_id, command.claim, command.verdict)


def _named(
    command: ResendCode | CancelPayment | Deposit | SetWalletStatus | BeginRefund, lease: Lease
) -> Values:
    operation = command.operation
    return (
        operation.id, operation.fingerprint, operation.kept_ms, lease.owner, lease.token, _keep(lease)
    )  # fmt: skip


def _keep(lease: Lease) -> str:
    return "1" if lease.keep else "0"


def most_of(limit: int | None) -> str:
    """Write a limit on behaviour for a script."""
    return str(limit or "")


def wallet_outcome(reply: Reply) -> Outcome[Wallet]:
    """Turn the reply of a wallet's script into an outcome."""
    return outcome_of(reply, wallet_from)


def payment_outcome(reply: Reply) -> Outcome[OperatorPayment]:
    """Turn the reply of a payment's script into an outcome."""
    return outcome_of(reply, lambda view: payment_from(view, reply.now_ms), payment_details(reply))


def payment_details(reply: Reply) -> Mapping[str, Any]:
    """Give the details of a reply their types."""
    texts = reply.details
    if not texts and reply.code != "replayed":
        return NO_DETAILS
    details: dict[str, Any] = {
        name: int(texts[name])
        for name in ("required", "available", "attempts_remaining", "issue")
        if name in texts
    }
    details |= {name: texts[name] for name in ("claim", "refund", "too_large") if name in texts}
    if "limit" in texts:
        details["limit"] = limit_from(texts)
    if "retry_after_ms" in texts:
        details |= {"retry_after_s": int(texts["retry_after_ms"]) / 1000, "too_many": texts["too_many"]}
    if "locked_until" in texts:
        details["locked_until"] = from_ms(texts["locked_until"])
    if reply.code == "replayed":
        details["replayed"] = True
    return details


CALLS: dict[type, tuple[str, Callable[[Any, Lease], Values], Callable[[Reply], Outcome[Any]]]] = {
    StartPayment: ("start_payment", _start, payment_outcome),
    ConfirmPayment: ("confirm_payment", _confirm, payment_outcome),
    ResendCode: ("resend_code", _resend, payment_outcome),
    CancelPayment: ("cancel_payment", _cancel, payment_outcome),
    Deposit: ("deposit", _deposit, wallet_outcome),
    SetWalletStatus: ("set_wallet_status", _set_status, wallet_outcome),
    BeginRefund: ("begin_refund", _begin_refund, payment_outcome),
    CompletePayment: ("complete_payment", _complete, payment_outcome),
}
"""What each command is: its script, the script's arguments, and what its reply becomes."""

DATED = frozenset({StartPayment, ConfirmPayment})
"""The commands whose scripts need the days around the store's clock; they come last in the arguments."""
