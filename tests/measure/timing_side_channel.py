"""The timing side channel: does a reply for a foreign id take longer than one for a missing id?

`cd tests && python -m measure.timing_side_channel` prints every call. A test compares the replies themselves.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from measure.http_client import Line, open_line, write_request
from rich.console import Console
from rich.table import Table

from technopay.cli.bench.environment import SECRET, Environment, OpenInvoice, open_environment
from technopay.cli.process import run_loop
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator, TokenSigner
from technopay.http.server.serving import serving

TRIES = 1_000
OTHERS = 50
"""The number of foreign users, used in turn."""


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids of one user, or similar missing ids."""

    wallet: str
    invoice: str
    payment: str

    def missing(self) -> "Ids":
        """Make ids with other ends."""
        return Ids(f"{self.wallet[:-4]}0000", f"{self.invoice[:-4]}0000", f"{self.payment[:-4]}0000")


@dataclass(frozen=True, slots=True)
class Compared:
    """The duration of a call with foreign ids and with missing ones: medians."""

    call: str
    foreign_us: float
    missing_us: float

    @property
    def ratio(self) -> float:
        """The ratio of the longer one to the shorter one."""
        return max(self.foreign_us, self.missing_us) / min(self.foreign_us, self.missing_us)


CALLS = {
    "read a wallet": ("GET", "/v1/wallets/{wallet}", ""),
    "read its entries": ("GET", "/v1/wallets/{wallet}/entries", ""),
    "read its statement": ("GET", "/v1/wallets/{wallet}/statement", ""),
    "read an invoice": ("GET", "/v1/invoices/{invoice}", ""),
    "read a payment": ("GET", "/v1/payments/{payment}", ""),
    "start from a wallet": ("POST", "/v1/payments", '{{"invoice_id": "{own}", "wallet_id": "{wallet}"}}'),
    "start for an invoice": ("POST", "/v1/payments", '{{"invoice_id": "{invoice}", "wallet_id": "{mine}"}}'),
    "confirm": ("POST", "/v1/payments/{payment}/confirm", '{{"code": "123456"}}'),
    "resend": ("POST", "/v1/payments/{payment}/resend", ""),
    "cancel": ("POST", "/v1/payments/{payment}/cancel", ""),
}
"""Method, path and body of every call with an id."""


async def compare_foreign(environment: Environment, tries: int) -> list[Compared]:
    """Make every call with foreign and with missing ids in turn, over HTTP."""
    wallets = await environment.seed_wallets(1 + OTHERS)
    (mine, *_), theirs = (
        await environment.seed_invoices(wallets[:1], 1),
        await environment.seed_invoices(wallets[1:], OTHERS),
    )
    async with environment.engine() as engine:
        payments = [
            await engine.start_payment(
                user_id=invoice.user_id, invoice_id=invoice.invoice_id, wallet_id=invoice.wallet_id
            )
            for invoice in theirs
        ]
        await environment.wait_for_relay()
        foreign = [Ids(payment.wallet_id, payment.invoice_id, payment.id) for payment in payments]
        app = create_app(engine, TokenAuthenticator(SECRET))
        async with serving(app, "127.0.0.1", 0) as (host, port):
            line = await open_line(f"http://{host}:{port}")
            return [await _compare(line, name, mine, foreign, tries) for name in CALLS]


async def _compare(line: Line, call: str, mine: OpenInvoice, foreign: Sequence[Ids], tries: int) -> Compared:
    took: dict[bool, list[float]] = {True: [], False: []}
    token = TokenSigner(SECRET).sign(mine.user_id, admin=False, lifetime_s=3600)
    for number in range(tries + OTHERS):
        ids = foreign[number % len(foreign)]
        # The second of two calls profits from the first: their order alternates.
        for is_foreign in (True, False) if number % 2 else (False, True):
            request = _request(call, mine, token, ids if is_foreign else ids.missing())
            began = time.perf_counter()
            await line.send_one(request, 404)
            if number >= OTHERS:  # those before warm up
                took[is_foreign].append(1e6 * (time.perf_counter() - began))
    return Compared(call, statistics.median(took[True]), statistics.median(took[False]))


def _request(call: str, mine: OpenInvoice, token: str, ids: Ids) -> bytes:
    method, path, body = CALLS[call]
    names = {"wallet": ids.wallet, "invoice": ids.invoice, "payment": ids.payment}
    body = body.format(**names, own=mine.invoice_id, mine=mine.wallet_id)
    return write_request(method, path.format(**names), token, body)


async def _show(console: Console) -> None:
    async with open_environment() as environment:
        compared = await compare_foreign(environment, TRIES)
    table = Table("call", "foreign, µs", "missing, µs", "ratio", title="foreign and missing ids, medians")
    for each in compared:
        table.add_row(each.call, f"{each.foreign_us:,.0f}", f"{each.missing_us:,.0f}", f"{each.ratio:.3f}")
    console.print(table)


if __name__ == "__main__":
    run_loop(_show(Console()))
