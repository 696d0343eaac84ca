"""The settlement and SMS service of docs/examples, in a process of its own that can be killed at any point."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from socket import create_connection
from typing import Any

import aiohttp
from support.processes.killable_server import free_port
from support.processes.service import eventually

from technopay.engine import MockSettlementService, SettlementService
from technopay.http.services.settlement import HttpSettlementService
from technopay.storage import RedisStore

STUB = Path(__file__).parents[3] / "docs" / "examples" / "services_stub.py"
SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGUgc2VydmljZXMgb2YgdGVzdHM="
START_S_MAX = 30.0


class ServicesStub:
    """The process, always at the same address with the same book."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.output = folder / "stub-output"
        self.book = folder / "book.sqlite"
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of `serve` that name it."""
        services = {"TECHNOPAY_SETTLEMENT": "http", "TECHNOPAY_SMS": "http"}
        return services | {
            f"{service}_{name}": value
            for service in services
            for name, value in (("URL", self.url), ("SECRET", SECRET))
        }

    def start(self, *, wait: bool = True) -> None:
        with self.output.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, str(STUB), "--port", str(self._port), "--book", str(self.book)],
                env={**os.environ, "SERVICE_SECRET": SECRET}, stdout=file, stderr=file,
            )  # fmt: skip
        if wait:
            eventually(self._is_ready, within_s=START_S_MAX)

    def end(self, name: signal.Signals = signal.SIGKILL) -> int:
        assert self._process
        self._process.send_signal(name)
        return self._process.wait(START_S_MAX)

    def read(self, query: str) -> list[Any]:
        """Read its book."""
        with sqlite3.connect(f"file:{self.book}?mode=ro", uri=True) as book:
            found = book.execute(query).fetchall()
        book.close()
        return found

    def states(self) -> dict[str, str]:
        """The state of each payment that was decided."""
        return dict(self.read("SELECT id, state FROM payments"))

    def movements(self) -> Counter[tuple[str, str | None, int]]:
        """How often each movement was made: payment, refund, amount."""
        return Counter(self.read("SELECT payment, refund, amount FROM movements"))

    def state_of(self, payment_id: str) -> str | None:
        """The state of a payment as in the book of the mock: 'reversed' when all of it was."""
        left = sum(amount for payment, _, amount in self.movements().elements() if payment == payment_id)
        state = self.states().get(payment_id)
        return "reversed" if state == "settled" and not left else state

    def _is_ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.output.read_text()
        with suppress(OSError), create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


@asynccontextmanager
async def open_service(store: RedisStore, url: str | None) -> AsyncIterator[SettlementService]:
    """Open the adapter to a stub, or the mock without a URL."""
    if url is None:
        yield MockSettlementService(store)
    else:
        async with aiohttp.ClientSession() as session:
            yield HttpSettlementService(session, url, SECRET)


@contextmanager
def running_stub(folder: Path) -> Iterator[ServicesStub]:
    stub = ServicesStub(folder)
    stub.start()
    try:
        yield stub
    finally:
        stub.end()
