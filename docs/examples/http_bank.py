"""A settlement service behind HTTP, for `serve`: TECHNOPAY_SETTLEMENT=http_bank:Bank.

TECHNOPAY_SETTLEMENT_URL is the bank's address, TECHNOPAY_SETTLEMENT_TOKEN is our token there.
"""

from typing import Any

from technopay.cli.plugins import ServiceContext
from technopay.engine import PaymentTerms, RefundTerms


class Bank:
    """Each call has its key, so the bank recognises a repeat. After an error the outcome is unknown."""

    def __init__(self, context: ServiceContext) -> None:
        self._session = context.session
        self._url = f"{context.variables['URL']}/transfers"
        self._token = context.variables["TOKEN"]

    async def settle(self, terms: PaymentTerms) -> Any:
        """Return `settled` or `declined`."""
        body = {
            "id": terms.payment_id,
            "amount": terms.amount,
            "currency": terms.currency,
            "to": terms.merchant,
        }
        return await self._post("", terms.payment_id, body)

    async def status(self, terms: PaymentTerms) -> Any:
        """Return `not_found` for a transfer that the bank does not know: it may be on its way."""
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._session.get(f"{self._url}/{terms.payment_id}", headers=headers) as answer:
            if answer.status == 404:
                return "not_found"
            answer.raise_for_status()
            return (await answer.json())["state"]

    async def call_off(self, terms: PaymentTerms) -> Any:
        """Return `called_off` only if the bank promises never to settle it from now on."""
        return await self._post(f"/{terms.payment_id}/call-off", f"{terms.payment_id}-off", {})

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Any:
        """Return `reversed` or `declined`."""
        return await self._post(f"/{terms.payment_id}/reversals", refund.id, {"amount": refund.amount})

    async def _post(self, path: str, key: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key}
        async with self._session.post(self._url + path, json=body, headers=headers) as answer:
            answer.raise_for_status()
            return (await answer.json())["state"]
