"""Operations on the store as a whole."""

from technopay.engine.models import ArchiveStatus, Audit
from technopay.engine.operation import operation
from technopay.engine.reads import ReadArchive
from technopay.engine.runtime import Runtime
from technopay.engine.statistics import StoreGauges


@operation()
async def check(runtime: Runtime) -> None:
    """Check whether the engine can work now."""
    await runtime.store.ping()


@operation()
async def measure(runtime: Runtime) -> StoreGauges:
    """Measure the store, for all engines on it."""
    return await runtime.store.measure()


@operation("archive_unavailable")
async def audit(runtime: Runtime) -> Audit:
    """Recompute every invariant from the journal, beside traffic."""
    return await runtime.audit()


@operation()
async def get_archive(runtime: Runtime) -> ArchiveStatus:
    """Read how far the history is archived."""
    return await runtime.value_of(ReadArchive())
