"""The scripts of users, invoices and limits, typed."""

from __future__ import annotations

from collections.abc import Sequence

from technopay.engine import commands
from technopay.engine.models import Invoice, Limit, Page, User, Wallet, to_ms
from technopay.engine.ports import Operation, Outcome
from technopay.storage.base import Reply, ScriptRunner, operated, outcome_of
from technopay.storage.commands import most_of
from technopay.storage.payments import page_of
from technopay.storage.records import fields_of, invoice_from, limit_from, payment_from, user_from, wallet_from


class RegistryScripts(ScriptRunner):
    """Who pays, what is owed, and how much may be spent."""

    async def create_user(
        self, operation: Operation, user_id: str, email: str | None, phone: str | None
    ) -> Outcome[User]:
        """Make a user known."""
        reply = await self._run(
            "create_user", **operated(operation), user=user_id, email=email or "", phone=phone or ""
        )
        return outcome_of(reply, user_from)

    async def set_user_status(
        self, operation: Operation, user_id: str, status: str, failures_per_day: int | None = None
    ) -> Outcome[User]:
        """Block or unblock a user."""
        most = most_of(failures_per_day)
        reply = await self._run(
            "set_user_status", **operated(operation), user=user_id, status=status, failures_per_day=most
        )
        return outcome_of(reply, user_from)

    async def unlock_user(
        self, operation: Operation, user_id: str, failures_per_day: int | None
    ) -> Outcome[User]:
        """Clear a lock-out by wrong codes."""
        most = most_of(failures_per_day)
        reply = await self._run("unlock_user", **operated(operation), user=user_id, failures_per_day=most)
        return outcome_of(reply, user_from)

    async def create_wallet(
        self, operation: Operation, wallet_id: str, user_id: str, currency: str
    ) -> Outcome[Wallet]:
        """Open a wallet."""
        reply = await self._run(
            "create_wallet", **operated(operation), wallet=wallet_id, user=user_id, currency=currency
        )
        return outcome_of(reply, wallet_from)

    async def create_invoice(self, operation: Operation, invoice: commands.NewInvoice) -> Outcome[Invoice]:
        """Enter an invoice."""
        reply = await self._run(
            "create_invoice",
            **operated(operation),
            invoice=invoice.id,
            user=invoice.user_id,
            amount=invoice.amount,
            currency=invoice.currency,
            merchant=invoice.merchant,
            description=invoice.description or "",
            reference=invoice.reference or "",
            expires_at_ms=to_ms(invoice.expires_at),
        )
        return outcome_of(reply, lambda record: invoice_from(record, reply.now_ms), reply.details)

    async def void_invoice(self, operation: Operation, invoice_id: str) -> Outcome[Invoice]:
        """Withdraw an invoice."""
        reply = await self._run("void_invoice", **operated(operation), invoice=invoice_id)
        details = {"payment": payment_from(reply.body[1], reply.now_ms)} if len(reply.body) > 1 else None
        return outcome_of(reply, lambda record: invoice_from(record, reply.now_ms), details)

    async def set_limit(self, operation: Operation, currency: str, amount: int | None) -> Outcome[Limit]:
        """Set or lift the daily limit of a currency."""
        limit = "" if amount is None else amount
        reply = await self._run_dated("set_limit", **operated(operation), currency=currency, limit=limit)
        return outcome_of(reply, lambda limit: limit_from(fields_of(limit)))

    async def read_limits(self, user_id: str | None) -> list[Limit]:
        """Read all limits, or those that bind a user."""
        reply = await self._run_dated("read_limits", user=user_id or "")
        return self._read_each("limit", reply.record, lambda limit: limit_from(fields_of(limit)), _currency_of)

    async def read_user(self, user_id: str, failures_per_day: int | None = None) -> Outcome[User]:
        """Read a user."""
        return outcome_of(await self._read_record("user", user_id, None, most_of(failures_per_day)), user_from)

    async def read_wallet(self, wallet_id: str, user_id: str | None) -> Outcome[Wallet]:
        """Read a wallet, with a user only that user's own."""
        reply = await self._run(
            "read_record", kind="wallet", id=wallet_id, user=user_id or "", failures_per_day=""
        )
        return outcome_of(reply, wallet_from)

    async def read_invoice(self, invoice_id: str, user_id: str | None) -> Outcome[Invoice]:
        """Read an invoice, with a user only that user's own."""
        reply = await self._run(
            "read_record", kind="invoice", id=invoice_id, user=user_id or "", failures_per_day=""
        )
        return outcome_of(reply, lambda record: invoice_from(record, reply.now_ms))

    async def list_wallets(self, user_id: str, cursor: str, limit: int) -> Page[Wallet]:
        """List a user's wallets."""
        reply = await self._run("list_wallets", user=user_id, cursor=cursor, count=limit)
        return page_of(reply, self._read_each("wallet", reply.record, wallet_from))

    async def list_invoices(self, user_id: str, cursor: str, limit: int) -> Page[Invoice]:
        """List a user's invoices."""
        reply = await self._run(
            "list_records", kind="invoice", index=f"invoices:{user_id}", cursor=cursor, count=limit
        )
        invoices = self._read_each("invoice", reply.record, lambda record: invoice_from(record, reply.now_ms))
        return page_of(reply, invoices)

    async def _read_record(
        self, kind: str, record_id: str, user_id: str | None, failures_per_day: str = ""
    ) -> Reply:
        return await self._run(
            "read_record", kind=kind, id=record_id, user=user_id or "", failures_per_day=failures_per_day
        )


def _currency_of(limit: Sequence[str]) -> str:
    """Answer the currency of what a script says of a limit, which is its name only if it cannot be read."""
    return dict(zip(limit[::2], limit[1::2], strict=False)).get("currency", limit[0])
