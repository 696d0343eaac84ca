"""A process of its own that uses the library, for races between processes; and the team that drives several.

A worker reads jobs from its standard input, one JSON object a line. It answers 'ready' when its engine runs,
waits for a line, and then makes all calls of the job at once. So a team begins in the same moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from support.fixtures.engine_setup import lax_settings

from technopay.engine import Engine, FixedCode, TechnopayError
from technopay.engine.values import PaymentTerms
from technopay.storage import RedisStore

CODE = "123456"
CLOSING_S = 20.0

Call = tuple[str, Mapping[str, Any]]
"""The name of an operation of the engine, or 'purchase', and its arguments."""


@dataclass(frozen=True)
class Result:
    """What a call was answered: 'ok' or the code of the error; the record and what an error tells."""

    code: str
    record: Mapping[str, Any]
    attempts_remaining: int | None = None


def open_store(url: str, namespace: str, timezone: str) -> RedisStore:
    """Make the store that all workers of a race use."""
    return RedisStore.connect(url, initialise=True, namespace=namespace, timezone=timezone)


class SentCode(FixedCode):
    """Takes one code for everything, and sends it: only what is sent is counted."""

    async def code(self, terms: PaymentTerms, version: int) -> str:
        return CODE


def make_engine(store: RedisStore, **settings: Any) -> Engine:
    """Make an engine that takes one code for everything, and sets no limits on behaviour unless told so."""
    verifier = SentCode(CODE) if settings.get("codes_per_hour") else FixedCode(CODE)
    return Engine(store, lax_settings(**settings), verifier=verifier)


async def purchase(engine: Engine, *, user_id: str, invoice_id: str, wallet_id: str) -> Any:
    """Make a whole purchase."""
    payment = await engine.start_payment(user_id=user_id, invoice_id=invoice_id, wallet_id=wallet_id)
    return await engine.confirm_payment(user_id=user_id, payment_id=payment.id, code=CODE, wait_s=10)


async def make(engine: Engine, call: Call) -> dict[str, Any]:
    """Make one call and answer what came of it, ready for JSON."""
    name, arguments = call
    try:
        if name == "purchase":
            answer = await purchase(engine, **arguments)
        else:
            answer = await getattr(engine, name)(**arguments)
    except TechnopayError as error:
        payment = getattr(error, "payment", None)
        return {
            "code": error.code,
            "record": payment.model_dump(mode="json") if payment else {},
            "attempts_remaining": getattr(error, "attempts_remaining", None),
        }
    return {"code": "ok", "record": answer.model_dump(mode="json")}


async def work(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Do one job."""
    async with open_store(*job["store"]) as store, make_engine(store, **job["settings"]) as engine:
        await engine.check()
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        return await asyncio.gather(*(make(engine, call) for call in job["calls"]))


def main() -> None:
    """Do jobs until the input ends."""
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(asyncio.run(work(json.loads(line)))), flush=True)  # noqa: T201


class Team:
    """Several workers."""

    def __init__(self, workers: Sequence[subprocess.Popen[str]]) -> None:
        self._workers = workers

    def run(
        self, url: str, namespace: str, timezone: str, *calls: Sequence[Call], **settings: Any
    ) -> list[list[Result]]:
        """Give each worker its calls, let all begin at once, and answer the results by worker."""
        assert len(calls) <= len(self._workers), "not enough workers"
        busy = self._workers[: len(calls)]
        for worker, own in zip(busy, calls, strict=True):
            job = {"store": [url, namespace, timezone], "settings": settings, "calls": own}
            _write(worker.stdin, json.dumps(job))
        for worker in busy:
            assert _read(worker.stdout) == "ready\n", f"worker {worker.pid} ended: {worker.poll()}"
        for worker in busy:
            _write(worker.stdin, "go")
        return [[Result(**result) for result in json.loads(_read(worker.stdout))] for worker in busy]


@contextmanager
def running_team(size: int) -> Iterator[Team]:
    """Start workers, and end them by closing their input, so that they can write down their coverage."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "support.processes.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(size)
    ]
    try:
        yield Team(workers)
    finally:
        for worker in workers:
            assert worker.stdin
            worker.stdin.close()
        for worker in workers:
            try:
                worker.wait(CLOSING_S)
            except subprocess.TimeoutExpired:
                worker.kill()
            assert worker.stdout
            worker.stdout.close()
    assert [worker.wait() for worker in workers] == [0] * size, "a worker crashed"


def _write(stream: IO[str] | None, line: str) -> None:
    assert stream
    stream.write(f"{line}\n")
    stream.flush()


def _read(stream: IO[str] | None) -> str:
    assert stream
    return stream.readline()


if __name__ == "__main__":
    main()
