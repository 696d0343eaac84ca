"""Several workers: their configuration, their exports to one another, and their supervision."""

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fixtures.engine_setup import SECRET

from technopay.cli.settings import Settings
from technopay.cli.workers import peers as peers_module
from technopay.cli.workers import supervisor as module
from technopay.cli.workers.parent import settle
from technopay.cli.workers.peers import PARENT, Peers
from technopay.cli.workers.supervisor import Supervisor, WorkerConfig, WorkerFailed

Workers = Callable[..., list[int]]

SERVES = "echo null; "
SERVES_ON = SERVES + "exec cat"


def config(number: int = 0, settings: Settings | None = None) -> WorkerConfig:
    return WorkerConfig(number, 2, (), Path(), demo=False, settings=settings or Settings())


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Start shells in place of workers, with a script for each start of one; return the started numbers."""

    def put(*scripts: str) -> list[int]:
        started: list[int] = []

        async def start(config: WorkerConfig) -> asyncio.subprocess.Process:
            script = scripts[min(started.count(config.number), len(scripts) - 1)]
            started.append(config.number)
            pipe = asyncio.subprocess.PIPE
            return await asyncio.create_subprocess_exec("sh", "-c", script, stdin=pipe, stdout=pipe)

        monkeypatch.setattr(module, "_start", start)
        monkeypatch.setattr(module, "DELAY_S_MIN", 0.001)
        return started

    return put


async def see(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.005)


def test_a_worker_has_the_settings_of_its_parent_in_any_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled = Settings.model_validate(
        {
            "secret": SECRET,
            "secret_previous": [SECRET + ",", SECRET + ";"],
            "codes_per_hour": 3,
            "keep_days": 9,
            "token_public_key_file": "keys.pem",
            "trusted_proxies": "10.0.0.0/8,::1",
            "service_variables": {"SETTLEMENT_URL": "https://bank"},
        }
    )
    assert SECRET not in settled.model_dump_json()
    sent = pickle.dumps(config(settings=settled))
    assert SECRET not in repr(settled)
    for name in ("SECRET", "TOKEN_SECRET"):
        monkeypatch.setenv(f"TECHNOPAY_{name}", "from the environment, which was changed")
    monkeypatch.setenv("TECHNOPAY_CODES_PER_HOUR", "9")

    assert pickle.loads(sent).settings == settled


def test_keys_of_tokens_that_change_are_read_once_for_all_workers(tmp_path: Path) -> None:
    keys, folder = tmp_path / "keys.pem", tmp_path / "folder"
    folder.mkdir()
    keys.write_text("a key")
    settings = Settings(token_public_key_file=keys, durability="unchecked")

    settled = settle(settings, SECRET, "unix:///run/valkey.sock", folder)
    keys.write_text("another key")

    assert settled.token_public_key_file
    assert settled.token_public_key_file.read_text() == "a key"
    assert settled.require_secret() == SECRET
    # The embedded store is required to be fully durable.
    assert (settled.redis_url, settled.durability) == ("unix:///run/valkey.sock", "always")


async def test_peers_export_to_one_another(tmp_path: Path) -> None:
    first, second = Peers(tmp_path, "0", 2), Peers(tmp_path, "1", 2)
    long = b"x" * 1_000_000
    async with first.exporting(lambda: b"I am 0"), second.exporting(lambda: long):
        assert await first.collect() == {"1": long, PARENT: None}
        assert await second.collect() == {"0": b"I am 0", PARENT: None}
        assert await Peers(tmp_path, PARENT, 2).collect() == {"0": b"I am 0", "1": long}


async def test_a_peer_that_is_gone_silent_or_cut_off_has_no_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"[half of")
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(peers_module, "REPLY_S_MAX", 0.05)
    asking = Peers(tmp_path, "0", 4)
    async with Peers(tmp_path, "1", 4).exporting(lambda: b"gone"):
        pass
    servers = [
        await asyncio.start_unix_server(each, tmp_path / name) for name, each in (("2", half), ("3", silent))
    ]

    assert await asking.collect() == {"1": None, "2": None, "3": None, PARENT: None}

    for server in servers:
        server.close()
    # Its successor takes the place of a killed worker.
    async with Peers(tmp_path, "2", 4).exporting(lambda: b"new"):
        assert (await asking.collect())["2"] == b"new"


async def test_a_worker_that_ends_is_started_again_and_counted(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    started = workers(SERVES + "exit 3", SERVES_ON)

    async with Supervisor([config(0), config(1)]) as supervisor:
        await see(lambda: caplog.text.count("serves again") == 2)

    assert sorted(started) == [0, 0, 1, 1]
    assert supervisor.restarts == {0: 1, 1: 1}
    assert caplog.text.count("ended with status 3; it is started again") == 2


@pytest.mark.parametrize(
    ("script", "start_s_max", "why"),
    [
        ("""echo '"the store is unfit"'; exit 1""", 60.0, "^the store is unfit$"),
        ("exit 4", 60.0, "it ended with status 4 before it served"),
        ("exec cat", 0.05, "not ready after"),
    ],
    ids=["refused", "ended", "never ready"],
)
async def test_a_worker_that_fails_at_its_start_ends_all(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, script: str, start_s_max: float, why: str
) -> None:
    started = workers(script)
    monkeypatch.setattr(module, "START_S_MAX", start_s_max)

    with pytest.raises(WorkerFailed, match=why):
        async with Supervisor([config(0), config(1)]):
            pass
    assert sorted(started) == [0, 1]


async def test_when_no_worker_can_serve_any_more_all_ends(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = workers(SERVES + "exit 3", """echo '"the store is gone"'""")
    monkeypatch.setattr(module, "DELAY_S_MAX", 0.001)
    monkeypatch.setattr(module, "WITHOUT_WORKERS_S_MAX", 600)

    async with Supervisor([config(0)]) as supervisor:
        await see(lambda: len(started) > 2)
        monkeypatch.setattr(module, "WITHOUT_WORKERS_S_MAX", 0)
        with pytest.raises(WorkerFailed, match="the store is gone"):
            async with asyncio.timeout(60):
                await supervisor.wait_unless_failed(asyncio.Event())


async def test_as_long_as_another_serves_it_is_tried_on(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WITHOUT_WORKERS_S_MAX", 0.0)
    monkeypatch.setattr(module, "DELAY_S_MAX", 0.001)
    started = workers(SERVES_ON)

    async with Supervisor([config(0), config(1)]) as supervisor:
        workers("exit 3")
        supervisor._running[0].kill()
        await see(lambda: supervisor.restarts[0] >= 5)
        assert not supervisor._failure.done()
        assert 1 in supervisor._serving
    assert started == [0, 1]


async def test_a_worker_that_does_not_end_is_killed(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers("trap '' TERM; " + SERVES + "while true; do sleep 0.05; done")
    monkeypatch.setattr(module, "DRAIN_S_MAX", 0.05)

    async with Supervisor([config(0)]) as supervisor:
        process = supervisor._running[0]

    assert process.returncode == -9
    assert "they are killed" in caplog.text
