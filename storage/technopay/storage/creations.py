"""Creations on a store of several partitions: idempotency keys and references that hold in all of them.

A key and a reference have a home each. The key is bound there to the arguments of its call, the reference is
reserved, then the record is created in the partition of its user. Each step can be repeated: it recognises the
operation. A reservation whose invoice was not created is called off first, then it ends.
"""

from collections.abc import Sequence
from dataclasses import replace

from technopay.engine.commands import CreateInvoice, CreateUser, CreateWallet
from technopay.engine.errors import StoreUnavailable
from technopay.engine.fields import partition_in
from technopay.engine.ports import Outcome
from technopay.storage.commands import (
    BindOperation,
    CallOffInvoice,
    EndReservation,
    ReadCreatedInvoice,
    ReadReservation,
    ReleaseOperation,
    ReleaseReference,
    ReserveReference,
)
from technopay.storage.partition import Partition, home_of
from technopay.storage.references import referred_as

BOUND = "key:"
"""Before the id of an operation in the home of its key: the record of the operation can be there, too."""
TRIES_MAX = 8


class Creations:
    """Creates users, wallets and invoices."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self._partitions = partitions

    async def create(self, command: CreateUser | CreateWallet) -> Outcome[object]:
        """Create a record under an idempotency key."""
        refusal = await self._bind(command)
        if refusal is not None:
            return refusal
        outcome = await self._create(command)
        await self._release_if_refused(command, outcome)
        return outcome

    async def create_invoice(self, command: CreateInvoice) -> Outcome[object]:
        """Create an invoice; its reference is reserved first."""
        refusal = await self._bind(command)
        if refusal is not None:
            return refusal
        outcome = await (self._create_referred(command) if command.reference else self._create(command))
        if outcome.code == "called_off":
            raise StoreUnavailable("The invoice was not created in time. Nothing happened; try again.")
        await self._release_if_refused(command, outcome)
        return outcome

    async def holder_of(self, merchant: str, reference: str) -> str:
        """Return the invoice that has a reference, which need not exist yet; '' without one."""
        home = home_of_reference(self._partitions, merchant, reference)
        kept = (await home.run(ReadReservation(referred_as(merchant, reference)))).value or ""
        return kept.partition(" ")[0] or await home.through.find_used(merchant, reference)

    async def finish(self, home: Partition, referred: str) -> None:
        """End a reservation: its invoice was created, or will not be."""
        kept = (await home.run(ReadReservation(referred))).value or ""
        if kept:
            invoice_id, operation_id, fingerprint = kept.split(" ", 2)
            found = self._partitions[partition_in(invoice_id)]
            called_off = await found.run(CallOffInvoice(operation_id, fingerprint, invoice_id))
            await home.run(EndReservation(referred, kept, is_free=called_off.code != "done"))

    async def _create(self, command: CreateUser | CreateWallet | CreateInvoice) -> Outcome[object]:
        return await home_of(self._partitions, command.user_id).run(command)

    async def _create_referred(self, command: CreateInvoice) -> Outcome[object]:
        operation, reference = command.operation, command.reference or ""
        own = home_of(self._partitions, command.user_id)
        earlier: Outcome[object] = await own.run(
            ReadCreatedInvoice(operation, command.user_id, command.expires_at)
        )
        if earlier.code != "nothing":
            return earlier
        home = home_of_reference(self._partitions, command.merchant, reference)
        reservation = ReserveReference(
            operation.operation_id, operation.fingerprint, command.merchant, reference, command.invoice_id,
            home.digest_of(command.merchant, reference),
        )  # fmt: skip
        for _ in range(TRIES_MAX):
            reserved = await home.run(reservation)
            holder = reserved.value or ""
            if reserved.code == "ok":
                break
            if reserved.code == "reference_archived":
                holder = await home.through.find_holder(command.merchant, reference)
                return Outcome("reference_used", details={"invoice_id": holder})
            released = await self._partitions[partition_in(holder)].run(ReleaseReference(holder))
            if released.code != "ok":
                return Outcome("reference_used", details={"invoice_id": holder})
            reservation = replace(reservation, replaced=holder)
        else:
            raise StoreUnavailable
        outcome: Outcome[object] = await own.run(replace(command, invoice_id=holder))
        if outcome.code != "ok":
            referred = referred_as(command.merchant, reference)
            kept = f"{holder} {operation.operation_id} {operation.fingerprint}"
            await home.run(EndReservation(referred, kept, is_free=True))
        return outcome

    async def _bind(self, command: CreateUser | CreateWallet | CreateInvoice) -> Outcome[object] | None:
        """Bind the idempotency key of a call; return the refusal of one that was used for another call."""
        operation = command.operation
        if not operation.has_key:
            return None
        bound = operation._replace(operation_id=BOUND + operation.operation_id)
        outcome = await home_of(self._partitions, bound.operation_id).run(BindOperation(bound))
        return Outcome(outcome.code) if outcome.code != "ok" else None

    async def _release_if_refused(
        self, command: CreateUser | CreateWallet | CreateInvoice, outcome: Outcome[object]
    ) -> None:
        """Only an answer that changed something is kept."""
        operation = command.operation
        if outcome.code != "ok" and operation.has_key:
            bound_id = BOUND + operation.operation_id
            await home_of(self._partitions, bound_id).run(ReleaseOperation(bound_id, operation.fingerprint))


def home_of_reference(partitions: Sequence[Partition], merchant: str, reference: str) -> Partition:
    """Return the home of a reference."""
    return home_of(partitions, f"{merchant}\n{reference}")
