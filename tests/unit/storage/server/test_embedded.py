"""The embedded server: initialised once, started again, one per directory, ended with its supervisor."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.store_setup import Setup

from technopay.engine.errors import StoreUnfit, StoreUninitialised
from technopay.storage import EmbeddedValkey, RedisStore
from technopay.storage.schema import SCHEMA

ROOT = Path(__file__).parents[4]
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from technopay.storage import EmbeddedValkey
from technopay.storage.server import embedded
if sys.argv[2] == "False":
    embedded.make_parent_death_handler = lambda: None
async def main():
    async with EmbeddedValkey(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def dies_with_parent() -> bool:
    """Whether the server of `supervisor` notices the end of its parent."""
    return True


@pytest.fixture
async def supervisor(
    tmp_path: Path, dies_with_parent: bool
) -> AsyncIterator[tuple[subprocess.Popen[str], int]]:
    """Another process that supervises a server on `tmp_path`; and the server's process id."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SUPERVISOR, str(tmp_path), str(dies_with_parent)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / root) for root in ("engine", "storage"))},
    )
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    try:
        yield process, int(line)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(5):
        while is_running(pid):  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def sockets_of(pid: int | None) -> tuple[set[str], set[str]]:
    """Return the sockets of a process, and all TCP sockets in its network namespace."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    tables = [Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    own = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    return own, {line.split()[9] for table in tables for line in table}


async def make_wallet(store: RedisStore) -> str:
    setup = Setup(store)
    await setup.user("alice")
    return await setup.wallet(balance=42)


@pytest.mark.parametrize("name", ["data", "a space, per%20cent, what?, hash#tag, quo'te, ünïcode"])
async def test_a_new_directory_of_any_name_initialises_itself_and_its_data_survives_a_restart(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "some" / name
    assert EmbeddedValkey(folder).is_new
    async with RedisStore.embedded(folder) as store:
        meta = await store.read_meta()
        wallet = await make_wallet(store)
    assert (folder / "appendonlydir").is_dir()
    assert not EmbeddedValkey(folder).is_new
    async with RedisStore.embedded(folder) as store:
        assert await store.read_meta() == meta
        assert await Setup(store).money(wallet) == (42, 0)


async def test_a_crash_before_the_first_initialisation_leaves_a_new_directory(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path):
        pass
    async with RedisStore.embedded(tmp_path) as store:
        assert (await store.read_meta())["schema"] == SCHEMA


async def test_a_directory_that_lost_its_data_is_refused(tmp_path: Path) -> None:
    async with RedisStore.embedded(tmp_path):
        pass
    shutil.rmtree(tmp_path / "appendonlydir")
    with pytest.raises(StoreUninitialised, match="lost its data"):
        await RedisStore.embedded(tmp_path).open()


async def test_a_server_that_was_killed_is_started_again_with_its_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with RedisStore.embedded(tmp_path) as store:
        wallet = await make_wallet(store)
        assert store._server is not None
        first = store._server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        outcome = None
        async with asyncio.timeout(10):
            while outcome is None:
                try:
                    outcome = await Setup(store).deposit(wallet, 1)
                except Exception:
                    await asyncio.sleep(0.02)
        assert outcome.code == "ok"
        assert await Setup(store).money(wallet) == (43, 0)
        assert store._server.pid not in (None, first)
    assert "started again" in caplog.text


async def test_a_directory_in_use_by_this_process_is_refused_by_name(tmp_path: Path) -> None:
    async with RedisStore.embedded(tmp_path) as store:
        with pytest.raises(StoreUnfit, match=f"in use by process {os.getpid()}"):
            await RedisStore.embedded(tmp_path).open()
        await store.ping()


async def test_a_directory_in_use_by_another_process_is_refused_by_name(
    supervisor: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, server = supervisor
    with pytest.raises(StoreUnfit, match=f"{re.escape(str(tmp_path))} is in use by process {process.pid}"):
        await EmbeddedValkey(tmp_path).start()
    assert is_running(server)


async def test_the_server_of_a_killed_supervisor_is_gone_soon(
    supervisor: tuple[subprocess.Popen[str], int],
) -> None:
    process, server = supervisor
    process.kill()
    await gone(server)


async def test_a_new_server_starts_at_once_where_the_supervisor_was_killed(
    supervisor: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, server = supervisor
    # It is not reaped yet: a new start must not take the zombie for a living process.
    os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(8), EmbeddedValkey(tmp_path) as again:
        await gone(server)
        assert again.pid not in (None, server)


@pytest.mark.parametrize("dies_with_parent", [False])
async def test_an_orphan_that_lives_on_is_stopped_by_the_next_start(
    supervisor: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, server = supervisor
    process.kill()
    process.wait(10)
    assert is_running(server)
    async with EmbeddedValkey(tmp_path) as again:
        await gone(server)
        assert again.pid not in (None, server)


async def test_closing_stops_the_server_and_frees_the_directory_and_can_be_repeated(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    pid = server.pid
    assert pid is not None
    assert os.getpgid(pid) != os.getpgid(0)
    await server.aclose()
    await server.aclose()
    assert server.pid is None
    assert not is_running(pid)
    await server.start()
    await server.aclose()


async def test_the_server_never_listens_on_a_network(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as server:
        assert server.url.startswith("unix://")
        inodes, tcp = sockets_of(server.pid)
        assert inodes
        assert inodes.isdisjoint(tcp)


async def test_a_server_that_does_not_start_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("technopay.storage.server.embedded.server_binary", lambda: "/bin/false")
    with pytest.raises(StoreUnfit, match=r"does not start; see .*valkey\.log"):
        await EmbeddedValkey(tmp_path).start()
    monkeypatch.undo()
    async with EmbeddedValkey(tmp_path):
        pass
