"""The default verifier: a one-time code in a message.

The code is never stored. It is derived from a key and the terms of the payment whenever it is needed.
"""

import hashlib
import hmac
from collections.abc import Set as AbstractSet

from technopay.engine.values import PaymentTerms

DIGITS = 6


class MessageCode:
    """Codes of six digits, bound to amount and payee (PSD2 RTS, Article 5)."""

    def __init__(self, *, code_key: bytes) -> None:
        # The setup of the key is half of the work of an HMAC: it is done once.
        self._keyed = hmac.new(code_key, digestmod=hashlib.sha256)

    async def code(self, terms: PaymentTerms, version: int) -> str | None:
        """Return the code to send: always the same for one version."""
        return self._derive(*_bound(terms), version).decode()

    async def check(self, terms: PaymentTerms, answer: str, versions: AbstractSet[int]) -> AbstractSet[int]:
        """Compare with the codes of all versions, in constant time."""
        # An answer can be any string, a lone half of a surrogate pair included.
        given = answer.encode("utf-8", "surrogatepass")
        begin, end = _bound(terms)
        return {
            version for version in versions if hmac.compare_digest(self._derive(begin, end, version), given)
        }

    def _derive(self, begin: bytes, end: bytes, version: int) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(b"%b%d%b" % (begin, version, end))
        return b"%0*d" % (DIGITS, int.from_bytes(keyed.digest()[:8]) % 10**DIGITS)


def _bound(terms: PaymentTerms) -> tuple[bytes, bytes]:
    """Return the terms of a code as text, before and after its version."""
    payee = terms.merchant.encode()
    end = f"|{terms.amount}|{terms.currency}|{len(payee)}|".encode() + payee
    return f"{terms.payment_id}|".encode(), end
