"""The second step: the evidence of a user's answer, and which codes are sent."""

from typing import NamedTuple

from technopay.engine.errors import StoreUnavailable
from technopay.engine.models import Payment
from technopay.engine.ports import Verifier
from technopay.engine.values import Evidence, PaymentTerms
from technopay.engine.verifiers.code_keys import CodeKeys, CodeState, code_state_of, matching_versions

NO_KEY = "-"
KEY_UNKNOWN = "The code belongs to a secret that this process does not have. Nothing happened; try again."


class PaymentRoute(NamedTuple):
    """The cached facts of a payment; `code` only if it waited for one."""

    wallet_id: str
    user_id: str
    terms: PaymentTerms
    code: CodeState | None

    @classmethod
    def of(cls, payment: Payment) -> "PaymentRoute":
        terms = PaymentTerms(payment.id, payment.amount, payment.currency, payment.merchant)
        return cls(payment.wallet_id, payment.user_id, terms, code_state_of(payment))


class SecondStep:
    """Compares answers with the codes of a payment. The script checks, counts and consumes."""

    def __init__(self, keys: CodeKeys) -> None:
        self._keys = keys

    async def evidence(self, route: PaymentRoute, answer: str) -> Evidence:
        """Compare an answer with all codes of a payment; after the confirmation, only its digests count."""
        digests = self._keys.digests(route.terms.payment_id, answer)
        verifier = self.verifier_of(route)
        if route.code is None or verifier is None:
            return Evidence(NO_KEY, ",", digests)
        matching = await matching_versions(verifier, route.terms, answer, route.code.version_max)
        return Evidence(route.code.key_id, matching, digests)

    async def sends_none(self, terms: PaymentTerms, version: int, route: PaymentRoute | None = None) -> bool:
        """Whether the verifier sends no code for this version, as an embedding program's verifier can."""
        verifier = self.verifier_of(route) if route else self._keys.verifier(self._keys.current)
        return verifier is not None and await verifier.code(terms, version) is None

    def verifier_of(self, route: PaymentRoute) -> Verifier | None:
        """Return the verifier of a payment that waits for its code, None for any other payment.

        Raises:
            StoreUnavailable: this engine lacks the key; another engine has it.

        """
        if route.code is None:
            return None
        verifier = self._keys.verifier(route.code.key_id)
        if verifier is None:
            raise StoreUnavailable(KEY_UNKNOWN)
        return verifier
