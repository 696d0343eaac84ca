"""The health check: the replies that make a store unfit or unavailable, and its memory of the store."""

import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.checked_server import INFO, META, SETTINGS, FakeServer

from technopay.engine.errors import OutcomeUnknown, StoreUnavailable, StoreUnfit
from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.loader import load_scripts
from technopay.storage.server.connection import Command
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.health import Durability, HealthCheck


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def make_health(durability: Durability = "always") -> HealthCheck:
    health = HealthCheck(DataCheck(Keys(), "UTC"), durability=durability)
    health._data.adopt(META)
    return health


async def test_a_good_store_is_fit_again_and_again_while_its_journal_grows(server: FakeServer) -> None:
    health = make_health()
    for entry in ("300-0", "300-1", "1000-0"):
        await health.check(server.request)
        server.journal.append(entry)
    await health.check(server.request)


async def test_a_store_without_any_entry_is_fit(server: FakeServer) -> None:
    server.journal, health = [], make_health()
    for _ in range(2):
        await health.check(server.request)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("aof_enabled:0", "does not write its append-only file"),
        ("aof_last_write_status:err", r"cannot write its .* \(aof_last_write_status is err\): check"),
    ],
)
async def test_a_store_that_does_not_write_its_file_is_unfit_until_it_does(
    server: FakeServer, line: str, words: str
) -> None:
    health = make_health()
    server.info = f"{INFO}{line}\r\n"
    await server.refuse(health, words)
    await make_health("unchecked").check(server.request)
    server.info = INFO
    await health.check(server.request)


async def test_a_store_is_full_when_the_server_says_so_and_until_there_is_room(server: FakeServer) -> None:
    health = make_health()
    for used, not_counted, is_full in (
        (1000, 0, False), (1020, 20, False), (1001, 0, True), (995, 0, True), (990, 0, False), (1000, 0, False),
    ):  # fmt: skip
        server.info = (
            f"{INFO}used_memory:{used}\r\nmaxmemory:1000\r\nmem_not_counted_for_evict:{not_counted}\r\n"
        )
        if is_full:
            await server.refuse(health, "uses more than its maxmemory of 1000 bytes")
        else:
            await health.check(server.request)
    assert health.server_info
    assert health.server_info.version == "redis 7.0.15"


async def test_until_a_store_is_adopted_only_the_server_is_looked_at(server: FakeServer) -> None:
    server.meta, server.journal = {}, []
    health = HealthCheck(DataCheck(Keys(), "UTC"), durability="always")
    await health.check(server.request)
    server.info = INFO.replace("master", "slave")
    await server.refuse(health, "is a replica")


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({}, "is empty: it lost its data; restore it"),
        (META | {"incarnation": "second"}, "was replaced by another one"),
        ({name: META[name] for name in META if name != "incarnation"}, "was replaced by another one"),
        (META | {"schema": "1"}, "has schema 1, this program"),
        (META | {"timezone": "Europe/Berlin"}, "has timezone Europe/Berlin, this program UTC"),
        ({"incarnation": "first"}, "has schema None"),
    ],
)
async def test_a_store_that_is_not_the_one_of_before_is_unfit_until_it_is(
    server: FakeServer, meta: dict[str, str], words: str
) -> None:
    health = make_health()
    await health.check(server.request)
    server.meta = meta
    for _ in range(2):
        await server.refuse(health, words)
    server.meta = META
    await health.check(server.request)


@pytest.mark.parametrize("journal", [[], ["100-0"], ["100-0", "150-0"], ["100-0", "300-0", "400-0"]])
async def test_a_store_that_came_back_older_is_unfit_even_if_it_went_on_since(
    server: FakeServer, journal: list[str]
) -> None:
    health = make_health()
    await health.check(server.request)
    server.journal = journal
    for _ in range(2):
        await server.refuse(health, "lost data: entry 200-0 of its journal is missing")
    server.journal = ["100-0", "200-0", "500-0"]
    await health.check(server.request)


async def test_an_entry_that_the_relay_read_has_to_stay(server: FakeServer) -> None:
    health = make_health()
    await health.check(server.request)
    health._data.note_entry("1000-0")
    health._data.note_entry("900-7")
    await server.refuse(health, "entry 1000-0 of its journal is missing")
    server.journal.append("1000-0")
    await health.check(server.request)


async def test_entries_read_in_another_store_are_not_looked_for_in_the_right_one(server: FakeServer) -> None:
    health = make_health()
    await health.check(server.request)
    server.meta, server.journal = {}, ["5000-0"]
    health._data.note_entry("5000-0")
    await server.refuse(health, "is empty")
    server.meta, server.journal = META, ["100-0", "200-0", "300-0"]
    await health.check(server.request)
    server.journal = ["100-0", "200-0"]
    await server.refuse(health, "entry 300-0 of its journal is missing")


@pytest.mark.parametrize("part", ["info", "settings", "meta", "journal"])
@pytest.mark.parametrize("error", [Exception("BUSY a script runs"), OutcomeUnknown()])
async def test_a_store_that_does_not_reply_is_unavailable(
    server: FakeServer, part: str, error: Exception
) -> None:
    health = make_health()
    setattr(server, part, error)
    await server.refuse(health, None, StoreUnavailable)


@pytest.mark.parametrize("error", ["NOPERM no permissions", "ERR unknown command 'CONFIG'"])
async def test_a_store_that_hides_its_settings_is_unfit_unless_unchecked(
    server: FakeServer, error: str
) -> None:
    server.settings = Exception(error)
    await server.refuse(make_health(), "does not show its configuration")
    await make_health("unchecked").check(server.request)


@pytest.mark.parametrize(
    ("part", "nonsense"),
    [("info", None), ("info", "OK"), ("info", []), ("meta", 7), ("settings", ["appendonly", "yes"])],
)
async def test_a_store_with_unreadable_replies_is_unavailable(
    server: FakeServer, part: str, nonsense: Any
) -> None:
    setattr(server, part, nonsense)
    await server.refuse(make_health(), "cannot be read", StoreUnavailable)


class Files:
    """The append-only file of a server with the process id of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "appendonlydir"
        self.folder.mkdir()
        self.number = 0
        names = ["dir", str(folder), "appenddirname", "appendonlydir", "appendfilename", "aof"]
        self.settings = [*SETTINGS, *names]
        self._open: list[int] = []

    def write(self) -> None:
        """Begin a new file, as a rewrite does: it is opened, then named, then the old one is closed."""
        self.number += 1
        name = f"aof.{self.number}.incr.aof"
        self._open.append(os.open(self.folder / name, os.O_CREAT | os.O_WRONLY))
        text = f"file aof.1.base.rdb seq 1 type b\nfile {name} seq {self.number} type i startoffset 0\n"
        (self.folder / "new").write_text(text)
        (self.folder / "new").rename(self.folder / "aof.manifest")
        self.close(but=1)

    def close(self, but: int = 0) -> None:
        while len(self._open) > but:
            os.close(self._open.pop(0))


@pytest.fixture
def files(server: FakeServer, tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path)
    files.write()
    server.settings = files.settings
    server.info = info_of("first")
    yield files
    files.close()


def info_of(run: str, pid: int | None = None) -> str:
    return f"{INFO}run_id:{run}\r\nprocess_id:{os.getpid() if pid is None else pid}\r\n"


async def test_a_server_whose_file_is_gone_is_unfit_until_it_writes_another(
    server: FakeServer, files: Files
) -> None:
    health = make_health()
    await health.check(server.request)
    (files.folder / f"aof.{files.number}.incr.aof").unlink()
    for _ in range(2):
        await server.refuse(health, "was deleted or replaced")
    files.write()
    await health.check(server.request)


async def test_a_server_that_was_started_again_may_have_no_file_open_yet(
    server: FakeServer, files: Files
) -> None:
    health = make_health()
    await health.check(server.request)
    files.close()
    server.info = info_of("second")
    for _ in range(2):
        await health.check(server.request)
    files.write()
    await health.check(server.request)
    files.close()
    await server.refuse(health, "was deleted or replaced")


@pytest.mark.parametrize("durability", ["always", "unchecked"])
async def test_a_server_that_loads_its_data_is_unavailable_whatever_else_it_says(
    server: FakeServer, files: Files, durability: Durability
) -> None:
    health = make_health(durability)
    await health.check(server.request)
    files.close()
    server.info = f"{info_of('first')}loading:1\r\naof_enabled:0\r\n"
    await server.refuse(health, "is loading", StoreUnavailable)


@pytest.mark.parametrize("again", [OutcomeUnknown(), StoreUnavailable()])
async def test_a_server_that_ended_after_its_answer_is_unavailable_and_lost_no_file(
    server: FakeServer, files: Files, again: Exception
) -> None:
    health = make_health()
    await health.check(server.request)
    files.close()  # as the end of its process does
    server.again = again
    await server.refuse(health, None, StoreUnavailable)


async def test_a_file_that_cannot_be_seen_is_not_lost(server: FakeServer, files: Files) -> None:
    health = make_health()
    await health.check(server.request)
    server.info = info_of("first", pid=2**22 + 1)  # above the highest process id
    await health.check(server.request)
    server.info = info_of("first")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await health.check(server.request)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_rewrite_during_the_look_is_no_loss(
    server: FakeServer, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = make_health()
    await health.check(server.request)
    read = Path.read_text

    def read_before_a_rewrite(path: Path, *arguments: Any) -> str:
        text = read(path, *arguments)
        if files.number < most:
            files.write()
        return text

    monkeypatch.setattr(Path, "read_text", read_before_a_rewrite)
    for rewrites in (1, 2, 3, 50):
        most = files.number + rewrites
        await health.check(server.request)


async def test_a_loss_is_recorded_in_the_store_and_closes_it_for_engines_that_saw_none(
    server: FakeServer,
) -> None:
    recorded: list[Command] = []

    async def request(commands: Sequence[Command]) -> list[Any]:
        recorded.extend(each for each in commands if each[0] == "FCALL")
        return await server.request(commands)

    script = load_scripts()["record_loss"]
    health = HealthCheck(DataCheck(Keys(), "UTC", script), durability="always")
    health._data.adopt(META)
    await health.check(request)
    server.journal = ["100-0"]
    for _ in range(2):
        with pytest.raises(StoreUnfit, match="entry 200-0 of its journal is missing"):
            await health.check(request)
    assert recorded == [("FCALL", script.function, 1, "{tp:00}:journal", "first", "200-0")] * 2

    server.meta["lost:200-0"] = "100-0"
    await server.refuse(make_health(), "entry 200-0 of its journal is missing")


async def test_partitions_are_checked_in_turn_and_all_of_them_on_a_new_connection(server: FakeServer) -> None:
    looked_at: list[str] = []

    async def request(commands: Sequence[Command]) -> list[Any]:
        looked_at.extend(str(command[1]) for command in commands if command[0] == "HGETALL")
        return await server.request(commands)

    server.meta["partitions"] = "40"
    health = HealthCheck(DataCheck(Keys(), "UTC"), durability="always")
    health._data.adopt(server.meta)
    metas = [Keys("tp", number).key("meta") for number in range(40)]
    await health.check(request, is_new=True)
    assert looked_at == metas

    looked_at.clear()
    for _ in range(3):
        await health.check(request)
    assert [each for each in looked_at if each == metas[0]] == [metas[0]] * 3
    assert len(looked_at) == 3 * 17
    assert set(looked_at) == set(metas)

    health._data.note_entry("700-0", 30)
    with pytest.raises(StoreUnfit, match="entry 700-0 of its journal is missing"):
        await health.check(request, is_new=True)


async def test_with_a_wait_for_replicas_only_entries_that_were_read_are_expected(server: FakeServer) -> None:
    """A check sees the last entry before any replica has it: a failover may lose that, and nobody saw it."""
    health = HealthCheck(DataCheck(Keys(), "UTC", waits_for_replicas=True), durability="always")
    health._data.adopt(META)
    await health.check(server.request)
    lost = server.journal.pop()
    await health.check(server.request)

    health._data.note_entry(lost)
    with pytest.raises(StoreUnfit, match=f"entry {lost} of its journal is missing"):
        await health.check(server.request)
