"""`technopay serve --workers`: one port, one store, any worker; killed and ended with real signals."""

import asyncio
import os
import re
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.fixtures.worker_connections import opened
from support.processes.service import (
    Service,
    assert_one_line,
    eventually,
    is_running,
    purchase_under_way,
    run_command,
    running_command,
)

SERVE = ("serve", "--workers", "2", "--port", "0", "--data-dir", "data")
DEMO = (*SERVE, "--demo")
AMOUNT = 100
COUNTED = r'^technopay_payments_total{currency="EUR",outcome="succeeded",worker="[01]"} (\S+)$'
TOKEN_SECRET = "only-in-the-file-" + "t" * 32

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for sockets, whose paths have to be short."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers on an embedded store without a limit. The books are audited at the end."""
    with running_command(tmp_path_factory.mktemp("workers"), *DEMO) as running:
        token = running.token(admin=True)
        assert running.ask("PUT", "/v1/admin/limits/EUR", {"amount": None}, token)[0] == 200
        yield running


def workers(service: Service) -> list[int]:
    name = b"technopay.cli.workers.worker"
    return [pid for pid in service.children() if name in Path(f"/proc/{pid}/cmdline").read_bytes()]


def told(text: str) -> dict[tuple[str, str], float]:
    """Add up the samples of metrics, by name and worker."""
    sums: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, sample.labels.get("worker", "")
            sums[key] = sums.get(key, 0) + sample.value
    return sums


async def test_a_purchase_goes_through_any_workers(service: Service) -> None:
    async with opened(service, 1) as ((first,), (second,)):
        wallet = await first.make_user("demo-ann", 10 * AMOUNT)
        for starting, confirming in ((first, second), (second, first), (second, second)):
            payment = await starting.start("demo-ann", wallet, AMOUNT)
            status, paid = await confirming.confirm("demo-ann", payment)
            assert (status, paid["status"]) == (200, "succeeded")
        assert (await first.get("GET", f"/v1/wallets/{wallet}", user="demo-ann"))["balance"] == 7 * AMOUNT


async def test_a_wallet_that_pays_at_all_workers_at_once_stays_correct_and_live(
    service: Service,
) -> None:
    async with opened(service, 20) as (ones, others):
        wallet = await ones[0].make_user("demo-hot", 40 * AMOUNT)
        lines = [line for pair in zip(ones, others, strict=True) for line in pair]
        payments = await asyncio.gather(*(line.start("demo-hot", wallet, AMOUNT) for line in lines))
        confirms = zip(lines, payments, strict=True)
        ended = await asyncio.gather(*(line.confirm("demo-hot", payment) for line, payment in confirms))

        assert [(status, paid["status"]) for status, paid in ended] == 40 * [(200, "succeeded")]
        # One after the other, on any worker.
        assert sorted(paid["balance_after"] for _, paid in ended) == [n * AMOUNT for n in range(40)]
        assert (await ones[0].get("GET", f"/v1/wallets/{wallet}", user="demo-hot"))["balance"] == 0

        async def all_are_counted() -> bool:
            counts = re.findall(COUNTED, await ones[0].get("GET", "/metrics"), re.MULTILINE)
            return sum(map(float, counts)) >= 40

        async with asyncio.timeout(20):
            while not await all_are_counted():  # noqa: ASYNC110 - there is nothing to wait on
                await asyncio.sleep(0.05)
        waits = told(await ones[0].get("GET", "/metrics"))
        assert all(waits["technopay_lease_waits_total", worker] >= 0 for worker in "01")


async def test_every_worker_serves_the_metrics_of_all(service: Service) -> None:
    counted = "technopay_requests_total"
    async with opened(service, 1) as lines:
        for (asked,) in lines:
            before = told(await asked.get("GET", "/metrics"))
            for number, (line,) in enumerate(lines):
                for _ in range(3 + number):
                    await line.get("GET", "/livez")
            text = await asked.get("GET", "/metrics")
            after = told(text)

            assert (after["technopay_workers", ""], after["technopay_store_up", ""]) == (2, 1)
            assert re.search(
                r'^technopay_build_info{.*store="valkey \d+\.\S+",version="\d\S+"} 1', text, re.MULTILINE
            )
            grown = [after[counted, worker] - before[counted, worker] for worker in "01"]
            # The worker of the first request to /metrics has counted it, too.
            assert sum(grown) == 3 + 4 + 1
            assert {3, 4} & set(grown)
            for worker in ("0", "1", "supervisor"):
                assert after["process_cpu_seconds_total", worker] > 0
                assert after["process_resident_memory_bytes", worker] > 0
            assert [after["technopay_worker_up", worker] for worker in "01"] == [1, 1]
            heads = [line for line in text.splitlines() if line.startswith("# TYPE")]
            assert len(heads) == len(set(heads))


def test_workers_that_are_killed_are_replaced_one_or_all(service: Service) -> None:
    for restarts in (1, 3):
        killed = workers(service)[: 1 if restarts == 1 else 2]
        left = set(workers(service)) - set(killed)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(is_running(pid) for pid in killed))  # noqa: B023
        assert service.ask("GET", "/livez")[0] == 200, "without a worker a request waits for one"
        assert left <= set(workers(service))
        eventually(lambda: service.output.read_text().count("serves again") == restarts)  # noqa: B023
        assert len(set(workers(service)) - set(killed)) == 2
        assert service.purchase("Bookshop" if restarts == 1 else "Café Central")[0] == 200
    with urllib.request.urlopen(f"{service.url}/metrics") as answer:
        metrics = told(answer.read().decode())
    assert [metrics["technopay_worker_restarts_total", worker] for worker in "01"] in ([2, 1], [1, 2])


def test_a_ctrl_c_to_all_processes_lets_workers_drain(home: Path, folder: Path) -> None:
    with running_command(home, *DEMO, settings={"TMPDIR": str(folder)}, has_own_group=True) as service:
        children = service.children()
        # The terminal does not decide when workers and store end.
        assert {os.getpgid(pid) for pid in children}.isdisjoint({os.getpgid(service.process.pid)})
        purchase = purchase_under_way(service)
        os.killpg(service.process.pid, signal.SIGINT)
        eventually(
            lambda: (health := service.ask("GET", "/readyz")[1]) is None or health["status"] == "draining"
        )
        # Further signals change nothing.
        os.killpg(service.process.pid, signal.SIGINT)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        status, paid = purchase()
        output = service.output.read_text()

    assert len(children) == 3
    assert not any(is_running(pid) for pid in children)
    assert (status, paid["status"]) == (200, "succeeded")
    assert output.count("technopay: draining") == 1
    assert "Traceback" not in output
    assert "started again" not in output
    assert list(folder.glob("technopay-workers-*")) == []


def test_workers_and_store_die_with_the_parent(home: Path, folder: Path) -> None:
    (home / ".env").write_text(f"TECHNOPAY_TOKEN_SECRET={TOKEN_SECRET}\n")
    with running_command(home, *SERVE, settings={"TMPDIR": str(folder)}) as service:
        children = service.children()
        for pid in children:
            for place in ("environ", "cmdline"):
                assert TOKEN_SECRET.encode() not in Path(f"/proc/{pid}/{place}").read_bytes()
        service.process.kill()
        service.process.wait()
        eventually(lambda: not any(is_running(pid) for pid in children))
        assert len(children) == 3

    # With another secret no worker can start on this store: that ends all, in one line.
    settings = {"TMPDIR": str(folder), "TECHNOPAY_SECRET": "another secret, just as long as that"}
    ended = run_command(home, *SERVE, settings=settings)
    assert_one_line(ended, 1, "TECHNOPAY_SECRET")
