"""`technopay serve --workers`: one port, one store, any worker; killed and ended with real signals."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.fixtures import http_clients
from support.fixtures.http_api import invoice_body
from support.fixtures.http_clients import right_code
from support.fixtures.polling import see
from support.fixtures.worker_connections import Line, opened
from support.processes.service import (
    Service,
    assert_one_line,
    eventually,
    is_running,
    run_command,
    running_command,
)

SERVE = ("serve", "--workers", "2", "--port", "0", "--data-dir", "data")
DEMO = (*SERVE, "--demo")
AMOUNT = 100
TOKEN_SECRET = "only-in-the-file-" + "t" * 32

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for temporary files; sockets are in it, whose paths have to be short."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers on an embedded store, in which there is no limit. The books are audited in the end."""
    with running_command(tmp_path_factory.mktemp("workers"), *DEMO) as running:
        token = running.token(admin=True)
        assert running.ask("PUT", "/v1/admin/limits/EUR", {"amount": None}, token)[0] == 200
        yield running


def workers(service: Service) -> list[int]:
    """The processes of the workers."""
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


async def test_a_wallet_that_is_paid_from_at_all_workers_at_once_stays_correct_and_live(
    service: Service,
) -> None:
    async with opened(service, 20) as (ones, others):
        wallet = await ones[0].make_user("demo-hot", 40 * AMOUNT)
        lines = [line for pair in zip(ones, others, strict=True) for line in pair]
        payments = await asyncio.gather(*(line.start("demo-hot", wallet, AMOUNT) for line in lines))
        confirms = zip(lines, payments, strict=True)
        ended = await asyncio.gather(*(line.confirm("demo-hot", payment) for line, payment in confirms))

        assert [(status, paid["status"]) for status, paid in ended] == 40 * [(200, "succeeded")]
        # One after the other, whoever took them.
        assert sorted(paid["balance_after"] for _, paid in ended) == [n * AMOUNT for n in range(40)]
        assert (await ones[0].get("GET", f"/v1/wallets/{wallet}", user="demo-hot"))["balance"] == 0
        waits = told(await ones[0].get("GET", "/metrics"))
        assert all(waits["technopay_lease_waits_total", worker] >= 0 for worker in "01")


async def test_a_limit_is_not_passed_over_all_workers_together(service: Service) -> None:
    async def prepare(line: Line, number: int) -> tuple[str, Any]:
        user = f"demo-usd{number}"
        wallet = await line.make_user(user, AMOUNT, "USD")
        return user, await line.start(user, wallet, AMOUNT, currency="USD")

    async with opened(service, 6) as (ones, others):
        lines = [*ones, *others]
        await lines[0].get("PUT", "/v1/admin/limits/USD", {"amount": 5 * AMOUNT + 1})
        payments = await asyncio.gather(*(prepare(line, number) for number, line in enumerate(lines)))
        confirms = zip(lines, payments, strict=True)
        ended = await asyncio.gather(*(line.confirm(*payment) for line, payment in confirms))

    outcomes = sorted(answer.get("code", status) if status != 200 else "paid" for status, answer in ended)
    assert outcomes == 7 * ["daily_limit_exceeded"] + 5 * ["paid"]


async def test_a_key_that_comes_to_all_workers_at_once_has_one_effect(service: Service) -> None:
    async with opened(service, 5) as (ones, others):
        wallet = await ones[0].make_user("demo-key", AMOUNT)
        path = f"/v1/admin/wallets/{wallet}/deposit"
        asked = [line.ask("POST", path, {"amount": 1}, key="once") for line in (*ones, *others)]
        answers = await asyncio.gather(*asked)

        assert [status for status, _, _ in answers] == 10 * [200]
        assert {answer["balance"] for _, answer, _ in answers} == {AMOUNT + 1}
        assert sum("Idempotent-Replayed" not in headers for _, _, headers in answers) == 1


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
            grown = [after[counted, worker] - before[counted, worker] for worker in "01"]
            # Whoever was asked has counted the first asking, too.
            assert sum(grown) == 3 + 4 + 1
            assert {3, 4} & set(grown)
            for worker in ("0", "1", "supervisor"):
                assert after["process_cpu_seconds_total", worker] > 0
                assert after["process_resident_memory_bytes", worker] > 0
            assert [after["technopay_worker_up", worker] for worker in "01"] == [1, 1]
            heads = [line for line in text.splitlines() if line.startswith("# TYPE")]
            assert len(heads) == len(set(heads))


class Payer:
    """Pays and pays, asking again whatever was not answered, until told to stop."""

    def __init__(self, line: http_clients.Line, user: str) -> None:
        self._line = line
        self._user = user
        self._keys = itertools.count()
        self.paid = 0
        self.is_done = False

    async def pay(self) -> None:
        await self._operate("/users", {"id": self._user, "email": f"{self._user}@example.com"})
        wallet = await self._operate("/wallets", {"user_id": self._user, "currency": "EUR"})
        await self._operate(f"/wallets/{wallet['id']}/deposit", {"amount": 1_000 * AMOUNT})
        while not self.is_done:
            invoice = await self._operate("/invoices", invoice_body(self._user, AMOUNT))
            body = {"invoice_id": invoice["id"], "wallet_id": wallet["id"]}
            payment = (await self._ask("/payments", body, self._user)).expect(201).body
            code = {"code": await right_code(payment)}
            # What a killed worker had begun to settle is taken over after a while.
            (await self._ask(f"/payments/{payment['id']}/confirm?wait=0", code, self._user)).expect(200, 202)
            self.paid += 1
        left = (await self._line.ask("GET", f"/v1/wallets/{wallet['id']}", user=self._user)).expect(200)
        assert left.body["balance"] == (1_000 - self.paid) * AMOUNT

    async def _operate(self, path: str, body: Any) -> Any:
        answer = await self._ask(f"/admin{path}", body, http_clients.OPERATOR)
        return answer.expect(200, 201).body

    async def _ask(self, path: str, body: Any, user: str) -> http_clients.Answer:
        key = None if "/confirm" in path else f"{self._user}-{next(self._keys)}"
        return await self._line.ask("POST", f"/v1{path}", body, user=user, key=key)


async def test_workers_that_are_killed_are_replaced_and_no_payment_is_lost_or_made_twice(
    service: Service,
) -> None:
    async def go_on(payers: Sequence[Payer]) -> None:
        """Wait until everybody has paid again."""
        before = [payer.paid for payer in payers]

        def look() -> bool:
            if paying.done():
                paying.result()
            return all(payer.paid > paid for payer, paid in zip(payers, before, strict=True))

        await seen(look)

    async def replaced(killed: Sequence[int], restarts: int) -> None:
        await seen(lambda: service.output.read_text().count("serves again") == restarts)
        assert len(workers(service)) == 2
        assert not set(killed) & set(workers(service))

    async with aiohttp.ClientSession() as session:
        line = http_clients.Line(session, [service.url], http_clients.Journal())
        payers = [Payer(line, f"demo-kill{number}") for number in range(4)]
        paying = asyncio.gather(*(payer.pay() for payer in payers))
        await go_on(payers)
        killed, left = workers(service)

        os.kill(killed, signal.SIGKILL)
        await go_on(payers)
        assert left in workers(service)
        await replaced([killed], 1)

        killed_now = workers(service)
        for each in killed_now:
            os.kill(each, signal.SIGKILL)
        await seen(lambda: not any(is_running(each) for each in killed_now))
        # Whoever comes now waits in line.
        assert (await asyncio.to_thread(service.ask, "GET", "/livez"))[0] == 200
        await go_on(payers)
        await replaced(killed_now, 3)
        for payer in payers:
            payer.is_done = True
        await paying
        metrics = told(await Line(service.url, session).get("GET", "/metrics"))
    assert [metrics["technopay_worker_restarts_total", worker] for worker in "01"] in ([2, 1], [1, 2])


async def seen(look: Callable[[], bool]) -> None:
    async def looked() -> bool:
        return look()

    await see(looked, within_s=30, pause_s=0.01)


def test_a_ctrl_c_to_all_processes_lets_workers_drain(home: Path, folder: Path) -> None:
    with running_command(home, *DEMO, settings={"TMPDIR": str(folder)}, has_own_group=True) as service:
        children = service.children()
        # When workers and store end is not the terminal's business.
        assert {os.getpgid(pid) for pid in children}.isdisjoint({os.getpgid(service.process.pid)})
        answers: list[tuple[int, Any]] = []
        asking = threading.Thread(target=lambda: answers.append(service.purchase("acme-slow", "?wait=10")))
        asking.start()

        def begun() -> bool:
            _, invoices = service.ask("GET", "/v1/invoices?limit=100", token=service.token())
            return any(invoice["status"] == "processing" for invoice in invoices["data"])

        eventually(begun)
        os.killpg(service.process.pid, signal.SIGINT)
        eventually(
            lambda: (health := service.ask("GET", "/readyz")[1]) is None or health["status"] == "draining"
        )
        # Impatience changes nothing.
        os.killpg(service.process.pid, signal.SIGINT)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        asking.join(30)
        output = service.output.read_text()

    assert len(children) == 3
    assert not any(is_running(pid) for pid in children)
    ((status, paid),) = answers
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


def test_a_port_in_use_is_named_and_nothing_is_left_behind(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ended = run_command(home, *SERVE, "--port", str(port))

    assert_one_line(ended, 1, f"cannot listen on 127.0.0.1:{port}: address already in use")
    assert not (home / "data" / "valkey.sock").exists()
