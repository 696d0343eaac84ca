"""`technopay accept-loss`: shows what a store is known to have lost, and uses it as it is."""

from collections.abc import Iterator, Mapping, Sequence

from technopay.cli.audit import audited_store
from technopay.cli.settings import Settings
from technopay.engine.record import from_ms, rfc3339
from technopay.engine.values import BEGINNING, Position
from technopay.storage.schema import Loss, losses_of

ACCEPTED = """\
technopay: the loss is accepted. Restart every engine that is still running, run `technopay audit`, and compare
the payments with the settlement service: it may have settled some that the store lost."""
NOTHING = "technopay: the store is not known to have lost anything; nothing was changed"


async def read_meta(settings: Settings) -> Mapping[str, str]:
    async with audited_store(settings) as store:
        return await store.read_meta()


async def accept(settings: Settings, incarnation: str) -> bool:
    async with audited_store(settings) as store:
        return await store.accept_loss(incarnation)


def shown_losses(meta: Mapping[str, str]) -> Sequence[str]:
    """Return the lines that show the losses; none without a loss."""
    losses = losses_of(meta)
    return list(_lines(meta["incarnation"], losses)) if losses else []


def _lines(incarnation: str, losses: Sequence[Loss]) -> Iterator[str]:
    yield f"The store of incarnation {incarnation} lost entries of its journal that engines had seen:"
    for loss in losses:
        yield f"  {_entry(loss.missing)} is missing; the last one before it is {_entry(loss.kept)}"
    yield "Whatever was acknowledged between these times may be lost. Restore a newer copy if there is one."


def _entry(position: Position) -> str:
    if position == BEGINNING:
        return "the beginning of the journal"
    return f"{position} of {rfc3339(from_ms(position.at_ms))}"
