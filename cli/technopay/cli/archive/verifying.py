"""Verifies an archive beside its store, and with it everything from the first entry."""

from technopay.engine import ArchiveUnavailable, Audit
from technopay.storage import Archive, ArchiveUnfit, RedisStore
from technopay.storage.archive.verify import CHAIN, DIFFERENCES_MAX, verify
from technopay.storage.audit.invariants import differ
from technopay.storage.records import UNREADABLE


async def verify_archive(store: RedisStore, archive: Archive) -> Audit:
    """Verify an open archive, and compare it with its store, which may be in use."""
    archiver = await store.archiver(archive)
    try:
        await archiver.compare()
        differences = []
    except ArchiveUnfit as error:
        differences = [differ(CHAIN, "archive", "history", "that of its store", error)]
    found = await verify(archive, await archiver.read_ends(), await archiver.read_trimmed())
    differences += found.differences
    return found.model_copy(update={"clean": not differences, "differences": differences})


async def audit_fully(store: RedisStore, archive: Archive) -> Audit:
    """Verify the archive, then audit the store from the first entry, which the archive has."""
    verified = await verify_archive(store, archive)
    try:
        audited = await store.audit(full=True)
    except (ArchiveUnavailable, *UNREADABLE):
        if verified.clean:
            raise
        return verified  # it says why nothing can be audited
    differences = [*verified.differences, *audited.differences][:DIFFERENCES_MAX]
    checked = verified.checked.model_copy(update={"messages": audited.checked.messages})
    return Audit(clean=not differences, checked=checked, differences=differences)
