"""`technopay accept-loss` on an embedded store."""

import asyncio
from pathlib import Path

from support.processes.service import assert_one_line, run_command

from technopay.storage import RedisStore
from technopay.storage.commands import RecordLoss

ACCEPT = ("accept-loss", "--data-dir", "data")


async def lose(folder: Path) -> None:
    async with RedisStore.embedded(folder) as store:
        await store.run(RecordLoss((await store.read_meta())["incarnation"], "1796000000000-0"))


def test_an_embedded_store_is_closed_after_a_restart_until_its_loss_is_accepted(tmp_path: Path) -> None:
    asyncio.run(lose(tmp_path / "data"))
    closed = run_command(tmp_path, "serve", "--data-dir", "data", "--port", "0")
    assert_one_line(closed, 1, "entry 1796000000000-0 of its journal is missing", "accept-loss")

    accepted = run_command(tmp_path, *ACCEPT, "--yes")
    assert (accepted.returncode, accepted.stderr) == (0, "")
    assert "1796000000000-0 of 2026-11-30T00:53:20.000Z is missing" in accepted.stdout
    assert "the last one before it is the beginning of the journal" in accepted.stdout
    assert run_command(tmp_path, *ACCEPT).returncode == 1
    assert_one_line(run_command(tmp_path, "accept-loss", "--data-dir", "nowhere"), 2, "no store in")
