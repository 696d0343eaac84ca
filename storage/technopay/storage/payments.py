"""The scripts that read, list and look after payments, typed; `commands` has those of the actors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from technopay.engine.models import Entry, OperatorPayment, Page, Payment
from technopay.engine.ports import ClaimKind, Operation, Outcome
from technopay.storage.base import Reply, operated
from technopay.storage.commands import CommandScripts, payment_outcome
from technopay.storage.records import entry_from, payment_from


class PaymentScripts(CommandScripts):
    """What happens to payments and wallets."""

    async def renew_claims(self, claims: Sequence[tuple[ClaimKind, str, str]], *, keep: bool) -> list[bool]:
        """Renew claims or give them up; answer which were current."""
        flat = [part for claim in claims for part in claim]
        reply = await self._run("renew_claims", keep="1" if keep else "0", claims=flat)
        return [is_current == 1 for is_current in reply.record]

    async def set_aside(self, payment_id: str, claim: str, interval_ms: int) -> bool:
        """Leave a payment to an operator."""
        reply = await self._run("set_aside", payment=payment_id, claim=claim, interval_ms=interval_ms)
        return reply.code == "ok"

    async def resolve_payment(
        self, operation: Operation, payment_id: str, verdict: str, note: str, by: str
    ) -> Outcome[OperatorPayment]:
        """Decide a payment that was set aside."""
        reply = await self._run(
            "resolve_payment", **operated(operation), payment=payment_id, verdict=verdict, note=note, by=by
        )
        return payment_outcome(reply)

    async def read_payment(self, payment_id: str, user_id: str | None) -> Outcome[OperatorPayment]:
        """Read a payment, with a user only that user's own."""
        return payment_outcome(await self._run("read_payment", payment=payment_id, user=user_id or ""))

    async def list_payments(self, user_id: str, cursor: str, limit: int) -> Page[Payment]:
        """List a user's payments."""
        return await self._list_indexed(f"payments:{user_id}", cursor, limit)

    async def search_payments(
        self, status: str | None, user_id: str | None, *, set_aside: bool | None, cursor: str, limit: int
    ) -> Page[OperatorPayment]:
        """List payments of all users that match."""
        if set_aside:
            page = await self._list_indexed("set_aside", cursor, limit)
        else:
            reply = await self._run(
                "list_payments", cursor=cursor, count=limit, status=status or "", user=user_id or ""
            )
            page = page_of(reply, self._payments_of(reply))
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
        return Outcome("ok", page_of(reply, self._read_each("entry", reply.record, entry_from)))

    async def _list_indexed(self, index: str, cursor: str, limit: int) -> Page[Any]:
        reply = await self._run("list_records", kind="payment", index=index, cursor=cursor, count=limit)
        return page_of(reply, self._payments_of(reply))

    def _payments_of(self, reply: Reply) -> list[OperatorPayment]:
        return self._read_each("payment", reply.record, lambda view: payment_from(view, reply.now_ms))


def page_of(reply: Reply, items: list[Any]) -> Page[Any]:
    """Build a page from a reply whose second part is the next cursor."""
    next_cursor = reply.body[1] or None
    return Page(data=items, has_more=next_cursor is not None, next_cursor=next_cursor)
