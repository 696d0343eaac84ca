"""The CPU of the server's process per request over HTTP, beside a bare handler that returns as many bytes.

`cd tests && python -m measure.http_requests` shows every kind of request of a purchase, and refusals.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from measure.http_client import connected, send_all, write_request
from rich.console import Console
from rich.table import Table

from technopay.cli.bench.environment import AMOUNT, CURRENCY, SECRET, Environment, open_environment
from technopay.cli.process import run_loop
from technopay.engine.values import PaymentTerms
from technopay.http.auth.tokens import TokenSigner

CONNECTIONS = 64
"""Parallel connections: a loaded server has many. More would be refused under load."""

ROUNDS = 6
TESTS = Path(__file__).parents[1]
BARE_TIMES = 4
"""The repetitions of a quick request, to last as long as the others."""

WALLETS = 1_000
PURCHASES = 6_000
PURCHASE = ("create", "start", "read", "confirm")
"""The requests of a purchase: create its invoice, start it, read the payment and confirm it."""

Wallets = Sequence[tuple[str, str]]


@dataclass(slots=True)
class ServerProcess:
    """A server process and the tokens of its clients."""

    kind: str
    process: subprocess.Popen[str]
    url: str
    tokens: dict[str, str] = field(default_factory=dict)

    def used_us(self) -> float:
        """Return the processor time of the process so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return 1e6 * float(self.process.stdout.readline())

    def write(self, method: str, path: str, user_id: str, body: Mapping[str, Any] | None = None) -> bytes:
        """Write a request with the token of a user with the scope of an operator."""
        if user_id not in self.tokens:
            self.tokens[user_id] = TokenSigner(SECRET).sign(user_id, admin=True, lifetime_s=3600)
        return write_request(method, path, self.tokens[user_id], json.dumps(body) if body else "")


@dataclass(frozen=True, slots=True)
class RequestCosts:
    """The server's CPU per request in microseconds: medians of rounds in turn."""

    bare: float
    quiet: Mapping[str, float]
    """Without logs and metrics; by kind of request."""
    watched: Mapping[str, float]
    """With both; by kind of request."""
    refused: float
    """While the server is at capacity."""

    @property
    def purchase(self) -> float:
        """The mean over the requests of a purchase, with logs and metrics."""
        return statistics.fmean(self.watched.values())

    @property
    def quiet_purchase(self) -> float:
        return statistics.fmean(self.quiet.values())


async def request_costs(environment: Environment, wallets: Wallets, purchases: int) -> RequestCosts:
    """Make a number of purchases over HTTP, and further requests; return the CPU per request."""
    rounds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    share = purchases // (ROUNDS + 1) // 2
    buyers = [wallets[number % len(wallets)] for number in range(share)]
    with ExitStack() as stack:
        servers = {
            kind: stack.enter_context(_server_process(kind, environment.url))
            for kind in ("bare", "quiet", "watched", "full")
        }
        for number in range(ROUNDS + 1):
            for kind in ("quiet", "watched"):
                found = await _buy(environment, servers[kind], buyers)
                found |= await _be_refused(servers, buyers) if kind == "watched" else {}
                if number:  # the first round warms up
                    for request, used_us in found.items():
                        rounds[kind, request].append(used_us / share)
    cost = {kind: statistics.median(found) for kind, found in rounds.items()}
    return RequestCosts(
        bare=cost["watched", "bare"],
        quiet={kind: cost["quiet", kind] for kind in PURCHASE},
        watched={kind: cost["watched", kind] for kind in PURCHASE},
        refused=cost["watched", "refused"],
    )


@contextmanager
def _server_process(kind: str, url: str) -> Iterator[ServerProcess]:
    command = [sys.executable, "-m", "measure.server_process", kind, url]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=TESTS
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield ServerProcess(kind, process, process.stdout.readline().strip())
        process.stdin.close()


async def _buy(environment: Environment, server: ServerProcess, buyers: Wallets) -> dict[str, float]:
    """Make a purchase for every buyer, one kind of request after the other; return the CPU of each kind.

    The CPU of a start includes its code's message, that of a confirm its settlement and the message of that.
    """
    used = {}
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    terms = {"amount": AMOUNT, "currency": CURRENCY, "merchant": "Bookshop", "expires_at": expires_at}
    used["create"], invoices = await _spend(
        server,
        [server.write("POST", "/v1/admin/invoices", user, {"user_id": user, **terms}) for user, _ in buyers],
        201,
    )
    await environment.wait_for_relay()
    used["start"], payments = await _spend(
        server,
        [
            server.write("POST", "/v1/payments", user, {"invoice_id": invoice["id"], "wallet_id": wallet})
            for (user, wallet), invoice in zip(buyers, invoices, strict=True)
        ],
        201,
        environment,
    )
    used["read"], _ = await _spend(
        server,
        [server.write("GET", f"/v1/payments/{each['id']}", each["user_id"]) for each in payments],
        200,
    )
    used["confirm"], paid = await _spend(
        server, [await _confirm(environment, server, payment) for payment in payments], 200, environment
    )
    assert all(payment["status"] == "succeeded" for payment in paid)
    return used


async def _confirm(environment: Environment, server: ServerProcess, payment: Mapping[str, Any]) -> bytes:
    terms = PaymentTerms(payment["id"], payment["amount"], payment["currency"], payment["merchant"])
    code = await environment.verifier.code(terms, 1)
    path = f"/v1/payments/{payment['id']}/confirm"
    return server.write("POST", path, payment["user_id"], {"code": code})


async def _spend(
    server: ServerProcess, requests: Sequence[bytes], status: int, environment: Environment | None = None
) -> tuple[float, list[dict[str, Any]]]:
    """Send requests; return their CPU, with that of messages if an environment is given, and the replies."""
    async with connected(server.url, CONNECTIONS) as lines:
        before_us = server.used_us()
        answers = await send_all(lines, requests, status)
        if environment:
            await environment.wait_for_relay()
        used_us = server.used_us() - before_us
    return used_us, [json.loads(answer) for answer in answers]


async def _be_refused(servers: Mapping[str, ServerProcess], buyers: Wallets) -> dict[str, float]:
    """Send as many requests to the bare server and to the refusing servers; return the CPU of each kind."""
    path, body = "/v1/payments/pay_0006p4ssQ5RFh8aTqkZ2nD4L/confirm", {"code": "123456"}
    bare, full = (
        [servers[kind].write("POST", path, user_id, body) for user_id, _ in buyers] for kind in ("bare", "full")
    )
    return {
        "bare": (await _spend(servers["bare"], bare * BARE_TIMES, 200))[0] / BARE_TIMES,
        "refused": (await _spend(servers["full"], full * BARE_TIMES, 503))[0] / BARE_TIMES,
    }


async def _show(console: Console) -> None:
    async with open_environment() as environment:
        costs = await request_costs(environment, await environment.seed_wallets(WALLETS), PURCHASES)
    table = Table("request", "µs", "÷ bare", title=f"the server's CPU, {CONNECTIONS} connections, medians")
    table.add_row("bare POST", f"{costs.bare:.0f}", "1.00")
    shown = {**costs.watched, "a purchase's, mean": costs.purchase, "… quiet": costs.quiet_purchase}
    shown["refused (503)"] = costs.refused
    for kind, used_us in shown.items():
        table.add_row(kind, f"{used_us:.0f}", f"{used_us / costs.bare:.2f}")
    console.print(table)


if __name__ == "__main__":
    run_loop(_show(Console()))
