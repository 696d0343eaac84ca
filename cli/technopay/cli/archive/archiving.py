"""The archiver of a service."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from technopay.engine import ArchiveUnavailable
from technopay.storage import Archive, RedisStore
from technopay.storage.archive.archive import POSTGRES_SCHEMES

logger = logging.getLogger(__name__)

NO_ARCHIVE = "none"


def require_location(text: str) -> str:
    """Return a URL of PostgreSQL or 'none', else raise ValueError with the rule."""
    if text.strip().lower() == NO_ARCHIVE:
        return NO_ARCHIVE
    if not text.startswith(POSTGRES_SCHEMES):
        raise ValueError("has to be the path of a file, a postgresql:// URL, or none")
    return text


@asynccontextmanager
async def archiving(store: RedisStore, location: str | None, keep_days: int) -> AsyncIterator[None]:
    """Archive the history of an open store in the background, and trim it; without a location, do nothing.

    An unavailable archive holds up no start: payments do not need it.

    Raises:
        ArchiveUnfit: the archive is of another store, or differs from this one.

    """
    if location is None:
        yield
        return
    async with Archive.at(location) as archive:
        archiver = await store.archiver(archive, keep_days=keep_days)
        try:
            await archiver.begin()
        except ArchiveUnavailable as fault:
            logger.warning("%s; payments go on without it", fault)
        async with archiver:
            yield
