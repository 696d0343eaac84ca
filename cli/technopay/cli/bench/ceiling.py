"""The ceiling: the scripts of the purchases, packed and sent straight to the store, in chunks."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

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
from technopay.engine.commands import Command, CompletePayment, ConfirmPayment, StartPayment
from technopay.engine.settings import key_id_of
from technopay.engine.statistics import ScriptTime, UnreadableRecords
from technopay.engine.values import Evidence, PaymentTerms
from technopay.storage.business_days import Calendar
from technopay.storage.partition import Partition
from technopay.storage.scripts.loader import Script, load_scripts
from technopay.storage.server.client import Argument
from technopay.storage.server.connection import pack_call

CHUNK = 128
CONNECTIONS = 2


class Recorder:
    """A partition that sends nothing: it records the calls of scripts, packed."""

    def __init__(self) -> None:
        scripts, times = load_scripts(), defaultdict[str, ScriptTime](ScriptTime)
        self._partition = Partition(KEYS, scripts, Calendar("UTC"), times, UnreadableRecords())
        self._partition.client = self
        self._partition.now_ms = time.time_ns() // 1_000_000
        self.calls: list[bytes] = []

    def record(self, command: Command[Any]) -> None:
        self._partition.send(command, NO_LEASE, lambda _: None)

    def send(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        on_result: object,  # noqa: ARG002
    ) -> None:
        self.calls.append(pack_call(script, keys, arguments))

    def send_command(self, words: Sequence[Argument], on_result: object) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


async def record_purchase(environment: Environment, recorder: Recorder, invoice: OpenInvoice) -> list[bytes]:
    """Return the three scripts of one purchase."""
    recorder.calls = []
    payment_id = environment.ids.new("pay", 0)
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
    confirm = ConfirmPayment("op", payment_id, invoice.user_id, evidence)
    for command in (start, confirm, CompletePayment(payment_id, "1", "settled")):
        recorder.record(command)
    return recorder.calls


async def run_ceiling(environment: Environment, invoices: Sequence[OpenInvoice]) -> Run:
    """Pay all invoices without an engine: a chunk's starts in one write, then its confirms, its completions."""
    recorder = Recorder()
    purchases = [await record_purchase(environment, recorder, invoice) for invoice in invoices]
    chunks = iter([purchases[first : first + CHUNK] for first in range(0, len(purchases), CHUNK)])

    async def send_chunks() -> None:
        reader, writer = await asyncio.open_unix_connection(str(environment.data_dir / "valkey.sock"))
        for chunk in chunks:
            for step in range(3):
                await send(reader, writer, [purchase[step] for purchase in chunk])
        writer.close()

    async def work() -> None:
        await asyncio.gather(*(send_chunks() for _ in range(CONNECTIONS)))

    return await measured(environment, len(invoices), work)


async def send(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    calls: Sequence[bytes],
) -> None:
    """Send scripts in one write; each has to succeed."""
    writer.write(b"".join(calls))
    parser = hiredis.Reader()
    replies = 0
    while replies < len(calls):
        parser.feed(await reader.read(1 << 20))
        while (reply := parser.gets()) is not False:
            assert not isinstance(reply, hiredis.ReplyError), reply
            assert reply[0] == b"ok", reply
            replies += 1
