"""The audit in the library, over HTTP, and as a command beside a running server."""

import asyncio
import json
from pathlib import Path

import pytest
from redis import Redis
from support.fixtures.engine_setup import make_setup
from support.fixtures.http_api import Api, make_person
from support.fixtures.store_setup import Setup, client_of
from support.processes.service import assert_one_line, run_command, running_command

from technopay.engine import Audit, Engine, EngineClosed, EngineSettings
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

DEMO = ("serve", "--demo", "--port", "0", "--data-dir", "data")
CLEAN, BROKEN, COULD_NOT_RUN = 0, 1, 2


class SlowStore(RedisStore):
    """A store whose audit waits for `go_on`."""

    audits = 0
    go_on: asyncio.Event

    async def audit(self, *, full: bool = False) -> Audit:
        self.audits += 1
        await self.go_on.wait()
        return await super().audit(full=full)


@pytest.fixture
async def slow_store() -> SlowStore:
    store = SlowStore.fake()
    store.go_on = asyncio.Event()
    return store


async def test_calls_at_once_share_one_audit_and_the_next_one_is_new(
    slow_store: SlowStore, settings: EngineSettings
) -> None:
    async with slow_store, Engine(slow_store, settings) as engine:
        impatient, *asking = [asyncio.create_task(engine.audit()) for _ in range(3)]
        await asyncio.sleep(0)
        impatient.cancel()
        slow_store.go_on.set()

        first, second = await asyncio.gather(*asking)

        assert impatient.cancelled()
        assert first is second
        assert slow_store.audits == 1
        await make_setup(engine, slow_store)
        assert (await engine.audit()).checked.users == 1
        assert slow_store.audits == 2


async def test_an_audit_ends_with_its_engine(slow_store: SlowStore, settings: EngineSettings) -> None:
    async with slow_store:
        async with Engine(slow_store, settings) as engine:
            asking = asyncio.create_task(engine.audit())
            await asyncio.sleep(0)
        with pytest.raises(EngineClosed):
            await asking


@pytest.mark.corrupts
async def test_an_operator_sees_the_verdict_and_each_difference_by_name(
    any_api: Api, store: RedisStore
) -> None:
    wallet = (await make_person(any_api)).wallet_id
    verdict = (await any_api.operate("GET", "/audit")).expect(200)
    assert set(verdict) == {"clean", "checked", "differences"}
    assert (verdict["clean"], verdict["differences"], verdict["checked"]["users"]) == (True, [], 1)
    (await any_api.get("/v1/admin/audit")).refuse(403, "forbidden")

    await client_of(store).hincrby(Setup(store).keys.key("wallet", wallet), "balance", 7)

    verdict = (await any_api.operate("GET", "/audit")).expect(200)
    assert verdict["clean"] is False
    names = {difference["invariant"] for difference in verdict["differences"]}
    assert names == {"balance_is_sum_of_entries", "no_money_made_or_lost"}
    assert verdict["differences"][0]["subject"] == wallet


def test_the_command_audits_beside_a_server_and_after_it_and_finds_what_is_wrong(tmp_path: Path) -> None:
    with running_command(tmp_path, *DEMO, is_audited=False) as service:
        assert service.purchase()[0] == 200
        beside = run_command(tmp_path, "audit", "--data-dir", "data")
        with Redis.from_url(f"unix://{tmp_path}/data/valkey.sock", decode_responses=True) as client:
            key = next(client.scan_iter("{tp:00}:wallet:*"))
            assert client.hincrby(str(key), "balance", 1)
    after = run_command(tmp_path, "audit", "--data-dir", "data", "--json")

    assert (beside.returncode, beside.stderr) == (CLEAN, "")
    assert beside.stdout.splitlines()[-1] == "clean"
    assert after.returncode == BROKEN
    verdict = json.loads(after.stdout)
    assert verdict["clean"] is False
    assert verdict["differences"][0]["subject"] in key
    told = run_command(tmp_path, "audit", "--data-dir", "data")
    assert told.returncode == BROKEN
    assert "balance_is_sum_of_entries" in told.stdout


def test_the_command_says_why_it_could_not_run(tmp_path: Path) -> None:
    assert_one_line(run_command(tmp_path, "audit", "--data-dir", "nowhere"), COULD_NOT_RUN, "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert_one_line(
        run_command(tmp_path, "audit", "--redis", "redis://127.0.0.1:1"), COULD_NOT_RUN, "127.0.0.1"
    )
    assert_one_line(run_command(tmp_path, "audit", "--redis", "nonsense"), COULD_NOT_RUN, "--redis")
