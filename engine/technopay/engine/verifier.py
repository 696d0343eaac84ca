"""The verifier that comes with the engine: a one-time code, sent in a message.

The code is never stored. It is derived, from a key and from what the user agrees to, whenever it is needed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from technopay.engine.ports import PaymentTerms

DIGITS = 6


class MessageCode:
    """Codes of six digits, bound to amount and payee (PSD2 RTS, Article 5)."""

    def __init__(self, *, code_key: bytes, digest_key: bytes) -> None:
        self._code_key = code_key
        self._digest_key = digest_key

    async def begin(self, terms: PaymentTerms, issue: int) -> str:
        """Answer the digest of the code that will be sent."""
        return self._digest(terms.payment_id, self._derive(terms, issue))

    async def check(self, payment_id: str, answer: str) -> str:
        """Answer the digest of whatever was typed."""
        return self._digest(payment_id, answer)

    async def code(self, terms: PaymentTerms, issue: int) -> str | None:
        """Answer the code to send: always the same for one issue."""
        return self._derive(terms, issue)

    def _derive(self, terms: PaymentTerms, issue: int) -> str:
        payee = terms.merchant.encode()
        bound = f"{terms.payment_id}|{issue}|{terms.amount}|{terms.currency}|{len(payee)}|".encode() + payee
        number = int.from_bytes(hmac.digest(self._code_key, bound, hashlib.sha256)[:8])
        return str(number % 10**DIGITS).zfill(DIGITS)

    def _digest(self, payment_id: str, answer: str) -> str:
        # Whatever was typed costs an attempt, also what is no text: a lone half of a surrogate pair.
        bound = f"{payment_id}|{answer}".encode("utf-8", "surrogatepass")
        digest = hmac.digest(self._digest_key, bound, hashlib.sha256)
        return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
