"""The verifier that comes with the engine: a one-time code, sent in a message.

The code is never stored. It is derived, from a key and from what the user agrees to, whenever it is needed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Set as AbstractSet

from technopay.engine.ports import PaymentTerms

DIGITS = 6


class MessageCode:
    """Codes of six digits, bound to amount and payee (PSD2 RTS, Article 5)."""

    def __init__(self, *, code_key: bytes) -> None:
        self._code_key = code_key

    async def code(self, terms: PaymentTerms, version: int) -> str | None:
        """Return the code to send: always the same for one version."""
        return self._derive(terms, version)

    async def check(self, terms: PaymentTerms, answer: str, versions: AbstractSet[int]) -> AbstractSet[int]:
        """Compare with the codes of all versions, in constant time."""
        # An answer can be any string, a lone half of a surrogate pair included.
        given = answer.encode("utf-8", "surrogatepass")
        return {
            version for version in versions if hmac.compare_digest(self._derive(terms, version).encode(), given)
        }

    def _derive(self, terms: PaymentTerms, version: int) -> str:
        payee = terms.merchant.encode()
        bound = f"{terms.payment_id}|{version}|{terms.amount}|{terms.currency}|{len(payee)}|".encode() + payee
        number = int.from_bytes(hmac.digest(self._code_key, bound, hashlib.sha256)[:8])
        return str(number % 10**DIGITS).zfill(DIGITS)
