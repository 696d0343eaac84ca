"""The scripts of payments and wallets, typed."""

from __future__ import annotations

from typing import Any

from technopay.engine import commands
from technopay.engine.models import Entry, Page, Payment, Wallet
from technopay.engine.ports import Lease, Operation, Outcome, Parcel, Verdict
from technopay.storage.base import Reply, ScriptRunner, leased, operated, outcome_of
from technopay.storage.records import entry_from, limit_from, parcel_from, payment_from, wallet_from


class PaymentScripts(ScriptRunner):
    """What happens to payments and wallets."""

    async def start_payment(self, command: commands.StartPayment, lease: Lease) -> Outcome[Payment]:
        """Make a payment that waits for its confirmation."""
        reply = await self._run_dated(
            "start_payment",
            **operated(command.operation),
            **leased(lease),
            payment=command.payment_id,
            user=command.user_id,
            wallet=command.wallet_id,
            invoice=command.invoice_id,
            method=command.method,
            digest=command.digest,
            lifetime_ms=command.code_lifetime_ms,
            attempts=command.attempts,
            resends=command.resends,
        )
        return payment_outcome(reply)

    async def confirm_payment(self, command: commands.ConfirmPayment, lease: Lease) -> Outcome[Payment]:
        """Judge everything again and take the money."""
        reply = await self._run_dated(
            "confirm_payment",
            operation=command.operation.id,
            **leased(lease),
            payment=command.payment_id,
            user=command.user_id,
            digest=command.digest,
        )
        return payment_outcome(reply)

    async def resend_code(self, command: commands.ResendCode, lease: Lease) -> Outcome[Payment]:
        """Replace the code."""
        reply = await self._run(
            "resend_code",
            **operated(command.operation),
            **leased(lease),
            payment=command.payment_id,
            user=command.user_id,
            issue=command.issue,
            digest=command.digest,
            lifetime_ms=command.code_lifetime_ms,
        )
        return payment_outcome(reply)

    async def cancel_payment(self, command: commands.CancelPayment, lease: Lease) -> Outcome[Payment]:
        """Give up an unconfirmed payment."""
        reply = await self._run(
            "cancel_payment",
            **operated(command.operation),
            **leased(lease),
            payment=command.payment_id,
            user=command.user_id,
        )
        return payment_outcome(reply)

    async def deposit(self, command: commands.Deposit, lease: Lease) -> Outcome[Wallet]:
        """Put money into a wallet."""
        reply = await self._run(
            "deposit",
            **operated(command.operation),
            **leased(lease),
            wallet=command.wallet_id,
            amount=command.amount,
        )
        return outcome_of(reply, wallet_from)

    async def set_wallet_status(self, command: commands.SetWalletStatus, lease: Lease) -> Outcome[Wallet]:
        """Activate or deactivate a wallet."""
        reply = await self._run(
            "set_wallet_status",
            **operated(command.operation),
            **leased(lease),
            wallet=command.wallet_id,
            status=command.status,
        )
        return outcome_of(reply, wallet_from)

    async def begin_refund(self, command: commands.BeginRefund, lease: Lease) -> Outcome[Payment]:
        """Begin to give a succeeded payment back."""
        reply = await self._run(
            "begin_refund", **operated(command.operation), **leased(lease), payment=command.payment_id
        )
        return payment_outcome(reply)

    async def complete_payment(self, payment_id: str, claim: str, verdict: Verdict) -> Outcome[Payment]:
        """Write down what the settlement service decided."""
        reply = await self._run("complete_payment", payment=payment_id, claim=claim, verdict=verdict)
        return payment_outcome(reply)

    async def renew_claim(self, payment_id: str, claim: str, claim_ms: int, *, set_aside: bool) -> bool:
        """Keep a claim, give it up, or leave the payment to an operator."""
        reply = await self._run(
            "renew_claim",
            payment=payment_id,
            claim=claim,
            claim_ms=claim_ms,
            set_aside="1" if set_aside else "0",
        )
        return reply.code == "ok"

    async def resolve_payment(
        self, operation: Operation, payment_id: str, verdict: str, note: str, by: str
    ) -> Outcome[Payment]:
        """Decide a payment that was set aside."""
        reply = await self._run(
            "resolve_payment", **operated(operation), payment=payment_id, verdict=verdict, note=note, by=by
        )
        return payment_outcome(reply)

    async def read_payment(self, payment_id: str, user_id: str | None) -> Outcome[Payment]:
        """Read a payment, with a user only that user's own."""
        return payment_outcome(await self._run("read_payment", payment=payment_id, user=user_id or ""))

    async def read_parcel(self, payment_id: str) -> Parcel | None:
        """Read a payment with what is needed to tell its user."""
        reply = await self._run("read_payment", payment=payment_id, user="")
        return parcel_from(reply.record, reply.now_ms) if reply.record else None

    async def list_payments(self, user_id: str, cursor: str, limit: int) -> Page[Payment]:
        """List a user's payments."""
        return await self._list_indexed(f"payments:{user_id}", cursor, limit)

    async def search_payments(
        self, status: str | None, user_id: str | None, *, set_aside: bool | None, cursor: str, limit: int
    ) -> Page[Payment]:
        """List payments of all users that match."""
        if set_aside:
            page = await self._list_indexed("set_aside", cursor, limit)
        else:
            reply = await self._run(
                "list_payments", cursor=cursor, count=limit, status=status or "", user=user_id or ""
            )
            page = page_of(reply, [payment_from(view, reply.now_ms) for view in reply.body[0]])
        matching = [
            payment
            for payment in page.data
            if status in (None, payment.status)
            and user_id in (None, payment.user_id)
            and set_aside in (None, payment.set_aside)
        ]
        return Page(data=matching, has_more=page.has_more, next_cursor=page.next_cursor)

    async def list_entries(
        self, wallet_id: str, user_id: str | None, cursor: str, limit: int
    ) -> Outcome[Page[Entry]]:
        """List a wallet's movements."""
        reply = await self._run(
            "list_entries", wallet=wallet_id, user=user_id or "", cursor=cursor, count=limit
        )
        if reply.code != "ok":
            return Outcome(reply.code)
        return Outcome("ok", page_of(reply, [entry_from(entry) for entry in reply.body[0]]))

    async def _list_indexed(self, index: str, cursor: str, limit: int) -> Page[Payment]:
        reply = await self._run("list_records", kind="payment", index=index, cursor=cursor, count=limit)
        return page_of(reply, [payment_from(view, reply.now_ms) for view in reply.body[0]])


def payment_outcome(reply: Reply) -> Outcome[Payment]:
    """Turn the reply of a payment's script into an outcome."""
    return outcome_of(reply, lambda view: payment_from(view, reply.now_ms), payment_details(reply))


def payment_details(reply: Reply) -> dict[str, Any]:
    """Give the details of a reply their types."""
    texts = reply.details
    details: dict[str, Any] = {
        name: int(texts[name])
        for name in ("required", "available", "attempts_remaining", "issue")
        if name in texts
    }
    if "claim" in texts:
        details["claim"] = texts["claim"]
    if "limit" in texts:
        details["limit"] = limit_from(texts)
    if "retry_after_ms" in texts:
        details["retry_after_s"] = int(texts["retry_after_ms"]) / 1000
    if reply.code == "replayed":
        details["replayed"] = True
    return details


def page_of(reply: Reply, items: list[Any]) -> Page[Any]:
    """Build a page from a reply whose second part is the next cursor."""
    next_cursor = reply.body[1] or None
    return Page(data=items, has_more=next_cursor is not None, next_cursor=next_cursor)
