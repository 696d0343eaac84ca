"""The ceiling: the scripts of the purchases, packed and sent straight to the store, in chunks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import hiredis

from technopay.cli.bench.environment import (
    AMOUNT,
    CURRENCY,
    KEYS,
    NO_LEASE,
    NOT_RECORDED,
    Environment,
    OpenInvoice,
)
from technopay.cli.bench.purchases import Run, measured
from technopay.engine.commands import CompletePayment, ConfirmPayment, Evidence, StartPayment
from technopay.engine.ports import Operation, PaymentTerms
from technopay.engine.settings import key_id_of
from technopay.storage import RedisStore
from technopay.storage.scripts import Script, load_scripts
from technopay.storage.server.client import Argument

CHUNK = 128
CONNECTIONS = 2

Step = tuple[str, Sequence[Argument]]


class Recorder(RedisStore):
    """A store that sends nothing: it records the scripts that it would have sent, with their arguments."""

    def __init__(self) -> None:
        super().__init__(url=None, initialise=False, timezone="UTC", namespace="tp", durability="unchecked")
        self._now_ms = time.time_ns() // 1_000_000
        self.steps: list[Step] = []

    def _send(self, name: str, values: Sequence[Argument], hear: object) -> None:  # noqa: ARG002
        self.steps.append((name, values))


async def record_purchase(environment: Environment, recorder: Recorder, invoice: OpenInvoice) -> list[Step]:
    """Return the three scripts of one purchase."""
    recorder.steps = []
    payment_id = environment.ids.new("pay")
    terms = PaymentTerms(payment_id, AMOUNT, CURRENCY, "Bookshop")
    key_id = key_id_of(environment.settings.secret)
    code = await environment.verifier.code(terms, 1) or ""
    evidence = Evidence(key_id, ",1,", f"{key_id}:{code}")
    settings = environment.settings
    start = StartPayment(
        NOT_RECORDED,
        payment_id,
        invoice.user_id,
        invoice.wallet_id,
        invoice.invoice_id,
        "",
        key_id,
        settings.code_lifetime_s * 1000,
        settings.code_attempts,
        settings.code_resends,
    )
    confirm = ConfirmPayment(Operation("op"), payment_id, invoice.user_id, evidence)
    for command in (start, confirm, CompletePayment(payment_id, "1", "settled")):
        recorder.send(command, NO_LEASE, lambda _: None)
    return recorder.steps


async def run_ceiling(environment: Environment, invoices: Sequence[OpenInvoice]) -> Run:
    """Pay all invoices without an engine: a chunk's starts in one write, then its confirms, its completions."""
    recorder, scripts = Recorder(), load_scripts()
    purchases = [await record_purchase(environment, recorder, invoice) for invoice in invoices]
    chunks = iter([purchases[first : first + CHUNK] for first in range(0, len(purchases), CHUNK)])

    async def send_chunks() -> None:
        reader, writer = await asyncio.open_unix_connection(str(environment.data_dir / "valkey.sock"))
        for chunk in chunks:
            for step in range(3):
                await send(reader, writer, scripts, [purchase[step] for purchase in chunk])
        writer.close()

    async def work() -> None:
        await asyncio.gather(*(send_chunks() for _ in range(CONNECTIONS)))

    return await measured(environment, len(invoices), work)


async def send(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    scripts: Mapping[str, Script],
    steps: Sequence[Step],
) -> None:
    """Send scripts in one write; each has to succeed."""
    writer.write(
        b"".join(
            hiredis.pack_command(("EVALSHA", scripts[name].sha, 1, KEYS.journal, *values))  # type: ignore[arg-type]
            for name, values in steps
        )
    )
    parser = hiredis.Reader()
    replies = 0
    while replies < len(steps):
        parser.feed(await reader.read(1 << 20))
        while (reply := parser.gets()) is not False:
            assert not isinstance(reply, hiredis.ReplyError), reply
            assert reply[0] == b"ok", reply
            replies += 1
