"""Archives and archivers, and databases of either kind."""

from collections.abc import AsyncIterator

import pytest
from support.fixtures.store_setup import Setup

from technopay.storage.archive.archive import Archive
from technopay.storage.archive.archiver import Archiver
from technopay.storage.archive.database import Change, Database


@pytest.fixture
async def archiver(setup: Setup, archive: Archive) -> Archiver:
    return await setup.store.archiver(archive)


@pytest.fixture
async def database(archive_location: str) -> AsyncIterator[Database]:
    """An open, empty database."""
    opened = Archive.at(archive_location).database
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture
async def table(database: Database) -> Database:
    """A database with a table of names and numbers."""
    create = "CREATE TABLE numbers (name TEXT, number BIGINT, PRIMARY KEY (name, number))"
    await database.write([Change(create), Change("CREATE TABLE counter (value BIGINT NOT NULL)")])
    await database.write([Change("INSERT INTO counter VALUES ($1)", [(0,)])])
    return database
