"""What docs/archive.md says: its queries run on both databases, its roles work, its columns exist."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from support.fixtures.archived_store import archived_store, make_history
from support.fixtures.archives import META
from support.servers.postgresql_server import PostgresServer

from technopay.storage.archive.archive import Archive
from technopay.storage.archive.export import TABLES

PAGE = (Path(__file__).parents[4] / "docs/archive.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
CONSOLES = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
PAYMENT = re.compile("pay_00[0-9A-Za-z]{20,}")


async def test_every_query_of_the_page_runs(archive_location: str) -> None:
    assert len(QUERIES) == 6
    async with archived_store(archive_location) as archived:
        history = await make_history(archived.engine, archived.store)
        await archived.copy()
        found = []
        for query in QUERIES:
            text = PAYMENT.sub(history["declined"].id, query).replace("'bookshop'", "'shop-declines'")
            found.append(await archived.archive.database.fetch(text.rstrip(";\n")))
        wallet = await archived.engine.find_wallet(wallet_id=history["setup"].wallet_id)
    turnover, balances, wrong, invoices, happened, limits = found
    assert sum(row[3] for row in turnover) == 2_500 + 2_000
    assert balances == [("alice", wallet.id, "EUR", wallet.balance)]
    assert wrong == []
    assert [row[2::2] for row in invoices] == [("open", "failed")]
    assert [row[1] for row in happened][-1] == "payment.failed"
    assert happened[-1][3] == "settlement_failed"
    assert sum(row[2] for row in limits) == 9_500


def test_every_column_is_on_the_page() -> None:
    described = set(re.findall(r"`(\w+)`", PAGE))
    for table in TABLES:
        assert {table.name, *table.columns} <= described


async def test_the_roles_of_the_page_can_do_what_they_are_for(postgres: PostgresServer) -> None:
    owner, reader = (text.replace("'…'", "'secret'") for text in CONSOLES)
    for statement in filter(None, owner.split("\n")):
        await postgres.run(statement)
    for statement in filter(None, reader.split("\n")):
        await postgres.run(statement, "technopay_archive")
    async with Archive.at(postgres.url("technopay_archive", "technopay_archive", "secret")) as archive:
        await archive.bind(META)
    connection = await asyncpg.connect(postgres.url("technopay_archive", "technopay_reader", "secret"))
    try:
        assert len(await connection.fetch("SELECT * FROM positions")) == 2
        assert await connection.fetch("SELECT * FROM limits_by_day") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM positions")
    finally:
        await connection.close()


async def test_a_backup_beside_an_open_archive_is_a_whole_archive(tmp_path: Path) -> None:
    async with Archive.at(str(tmp_path / "archive.db")) as archive:
        await archive.bind(META)
        with closing(sqlite3.connect(tmp_path / "archive.db")) as source:
            source.execute("VACUUM INTO ?", [str(tmp_path / "copy.db")])
        position = await archive.read_position(1)
        async with Archive.at(str(tmp_path / "copy.db")) as copy:
            await copy.bind(META)
            assert await copy.read_position(1) == position
