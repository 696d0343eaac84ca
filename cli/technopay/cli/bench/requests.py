"""What a confirm over HTTP costs the server's process, beside a bare handler that answers as many bytes."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from technopay.cli.bench.ground import SECRET, Bill, Ground
from technopay.engine.ports import PaymentTerms
from technopay.http import TokenSigner

CONNECTIONS = 32
ROUNDS = 6
KINDS = ("bare", "quiet", "watched")


@dataclass(slots=True)
class Served:
    """A server process and its clients."""

    kind: str
    process: subprocess.Popen[str]
    url: str
    signer: TokenSigner = field(default_factory=lambda: TokenSigner(SECRET))
    headers: dict[str, dict[str, str]] = field(default_factory=dict)

    def used_s(self) -> float:
        """Answer the processor time that the process has used so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def headers_of(self, user_id: str) -> dict[str, str]:
        """Answer the headers of a user, who keeps a token."""
        if user_id not in self.headers:
            token = self.signer.sign(user_id, admin=False, lifetime_s=3600)
            self.headers[user_id] = {"Authorization": f"Bearer {token}"}
        return self.headers[user_id]


async def request_cpu_us(ground: Ground, bills: Sequence[Bill]) -> dict[str, float]:
    """Answer the server's CPU per confirm of each kind of server, as the median of interleaved rounds."""
    waiting = iter(bills)
    rounds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    share = len(bills) // (ROUNDS + 1) // 2
    with ExitStack() as stack:
        servers = [stack.enter_context(_served(kind, ground.url)) for kind in KINDS]
        payments: list[dict[str, Any]] = []
        for number in range(ROUNDS + 1):
            # The bare one takes whatever payments come, so it is the last of a round.
            for server in (*servers[1:], servers[0]):
                if server.kind != "bare":
                    payments = await _start_all(server, [next(waiting) for _ in range(share)])
                    await ground.wait_for_relay()
                used_s = server.used_s()
                await _confirm_all(ground, server, payments)
                if server.kind != "bare":
                    await ground.wait_for_relay()
                if number:  # the first round warms up
                    rounds[server.kind].append(1e6 * (server.used_s() - used_s) / share)
    return {kind: statistics.median(found) for kind, found in rounds.items()}


@contextmanager
def _served(kind: str, url: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "technopay.cli.bench.served", kind, url]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield Served(kind, process, process.stdout.readline().strip())
        process.stdin.close()


async def _start_all(server: Served, bills: Sequence[Bill]) -> list[dict[str, Any]]:
    """Start payments over HTTP, as the same users will confirm them."""
    waiting = iter(bills)
    payments: list[dict[str, Any]] = []
    async with _session(server) as session:

        async def client() -> None:
            for bill in waiting:
                body = {"invoice_id": bill.invoice_id, "wallet_id": bill.wallet_id}
                headers = server.headers_of(bill.user_id)
                async with session.post("/v1/payments", json=body, headers=headers) as response:
                    assert response.status == 201, await response.text()
                    payments.append(await response.json())

        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return payments


async def _confirm_all(ground: Ground, server: Served, payments: Sequence[dict[str, Any]]) -> None:
    codes = {}
    for payment in payments:
        terms = PaymentTerms(payment["id"], payment["amount"], payment["currency"], payment["merchant"])
        codes[payment["id"]] = await ground.verifier.code(terms, 1)
    waiting = iter(payments)
    async with _session(server) as session:

        async def client() -> None:
            for payment in waiting:
                path = f"/v1/payments/{payment['id']}/confirm"
                body, headers = {"code": codes[payment["id"]]}, server.headers_of(payment["user_id"])
                async with session.post(path, json=body, headers=headers) as response:
                    text = await response.text()
                    assert response.status == 200, text
                    assert server.kind == "bare" or '"succeeded"' in text, text

        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


def _session(server: Served) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=CONNECTIONS))
