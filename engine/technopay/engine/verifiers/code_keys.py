"""The keys of an engine: the verifier for the codes of each key, and the digests of accepted answers."""

import base64
import hashlib
import hmac
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from technopay.engine.models import Payment
from technopay.engine.ports import ANY, Verifier
from technopay.engine.settings import EngineSettings, derive_key, key_id_of
from technopay.engine.values import PaymentTerms
from technopay.engine.verifiers.message_code import MessageCode


class CodeState(NamedTuple):
    """The codes of a payment: the id of their key, the current version, the last possible one."""

    key_id: str
    version: int
    version_max: int


def code_state_of(payment: Payment) -> CodeState | None:
    """Return the state of the codes of a payment that waited for one; it is no field of the record."""
    return (payment.__pydantic_private__ or {}).get("_code")


def keep_code_state(payment: Payment, state: CodeState) -> None:
    """Attach the state of the codes to a new payment, beside its fields."""
    assert payment.__pydantic_private__ is not None
    payment.__pydantic_private__["_code"] = state


class CodeKeys:
    """The keys of the secret and the previous ones. A verifier that was passed in serves all of them."""

    def __init__(self, settings: EngineSettings, verifier: Verifier | None) -> None:
        secrets = (settings.secret, *settings.previous_secrets)
        self.ids = tuple(key_id_of(secret) for secret in secrets)
        self._digest_keys = [
            (key_id, hmac.new(derive_key(secret, "digest"), digestmod=hashlib.sha256))
            for key_id, secret in zip(self.ids, secrets, strict=True)
        ]
        self.is_own = verifier is not None
        self._verifiers: dict[str, Verifier] = {
            key_id: verifier or MessageCode(code_key=derive_key(secret, "code"))
            for key_id, secret in zip(self.ids, secrets, strict=True)
        }

    @property
    def current(self) -> str:
        """The id of the key of new challenges."""
        return self.ids[0]

    def adopt(self, first_id: str) -> None:
        """Use the first key of the store for challenges that name none."""
        if first_id in self._verifiers:
            self._verifiers[""] = self._verifiers[first_id]

    def verifier(self, key_id: str) -> Verifier | None:
        """Return the verifier for the codes of a key; None if this engine lacks the key."""
        return self._verifiers.get(key_id)

    def digests(self, payment_id: str, answer: str) -> str:
        """Return '<key id>:<digest of the answer>' under every key, the current one first."""
        bound = f"{payment_id}|{answer}".encode("utf-8", "surrogatepass")
        return " ".join([f"{key_id}:{_digest(keyed, bound)}" for key_id, keyed in self._digest_keys])


async def matching_versions(verifier: Verifier, terms: PaymentTerms, answer: str, version_max: int) -> str:
    """Return the versions that an answer matches, in the form for commands."""
    versions: AbstractSet[int] = frozenset(range(1, version_max + 1))
    matching = await verifier.check(terms, answer, versions)
    if matching is ANY:
        return "*"
    return "".join([f",{version}" for version in versions if version in matching]) + ","


def _digest(keyed: hmac.HMAC, bound: bytes) -> str:
    digest = keyed.copy()
    digest.update(bound)
    return base64.urlsafe_b64encode(digest.digest()[:16])[:22].decode()
