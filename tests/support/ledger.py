"""An audit of its own: folds the raw journal of a store at rest and compares the raw records with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from support.journal import named

Record = dict[str, str]
Place = Literal["wallet", "in_flight", "settled", "refunding", "refunded", "given_back"]

PLACES: dict[str, Place] = {
    "requires_confirmation": "wallet",
    "canceled": "wallet",
    "expired": "wallet",
    "processing": "in_flight",
    "succeeded": "settled",
    "refunding": "refunding",
    "refunded": "refunded",
}
"""Where the money of a payment is, by the payment's status. A failed one tells by its failure."""

BOOK_PLACES = {"settled": {"settled", "refunding"}, "reversed": {"refunded", "refunding"}}
OTHER_BOOK_PLACES = {"wallet", "given_back"}
"""Where the money can be when nothing is in flight, by what the mock settlement service wrote down."""


@dataclass
class Debit:
    """A payment that took money."""

    wallet: str
    amount: int
    currency: str
    day: str
    place: Place = "in_flight"


@dataclass
class Books:
    """What the journal says."""

    wallets: list[str] = field(default_factory=list)
    invoices: list[str] = field(default_factory=list)
    payments: list[str] = field(default_factory=list)
    currencies: set[str] = field(default_factory=set)
    balances: Counter[str] = field(default_factory=Counter)
    entries: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    deposits: Counter[str] = field(default_factory=Counter)
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    debits: dict[str, Debit] = field(default_factory=dict)

    def move(self, payment: str, start: Place, end: Place) -> Debit:
        """Move the money of a payment, which must be where it is taken from."""
        debit = self.debits.get(payment)
        assert debit, f"{payment}: {end} without a debit"
        assert debit.place == start, f"{payment}: from {debit.place} to {end}"
        debit.place = end
        return debit

    def book(self, entry: str, fields: Mapping[str, str]) -> None:
        """Enter a movement of a wallet, which must leave what the entry says, and nothing below zero."""
        wallet = fields["wallet"]
        self.balances[wallet] += int(fields["amount"])
        self.entries[wallet].append(entry)
        assert self.balances[wallet] == int(fields["balance"]), (
            f"{entry}: leaves {self.balances[wallet]}: {fields}"
        )
        assert self.balances[wallet] >= 0, f"{entry}: below zero: {fields}"

    def credit(self, entry: str, fields: Mapping[str, str], debit: Debit) -> None:
        """Enter money that comes back: to the wallet it came from, in full."""
        assert fields["wallet"] == debit.wallet, f"{entry}: to another wallet: {fields}"
        assert int(fields["amount"]) == debit.amount, f"{entry}: another amount: {fields}"
        self.book(entry, fields)

    def debit(self, entry: str, fields: Mapping[str, str]) -> None:
        """Enter a payment's debit, which has to fit into the limit stored with it."""
        payment, amount = fields["payment"], -int(fields["amount"])
        assert amount > 0, f"{entry}: no debit: {fields}"
        assert payment not in self.debits, f"{entry}: a second debit: {fields}"
        self.debits[payment] = Debit(fields["wallet"], amount, fields["currency"], fields["day"])
        counter = fields["currency"], fields["day"]
        self.used[counter] += amount
        assert self.used[counter] == int(fields["used"]), f"{entry}: used is {self.used[counter]}: {fields}"
        if "limit" in fields:
            assert self.used[counter] <= int(fields["limit"]), f"{entry}: over the limit: {fields}"
        self.book(entry, fields)


def fold(journal: Sequence[tuple[str, Record]]) -> Books:
    """Read the journal from its beginning."""
    books = Books()
    for entry, fields in journal:
        if not _register(books, fields) and not _move_money(books, entry, fields):
            assert "amount" not in fields, f"{entry}: money moved unknown to the audit: {fields}"
    return books


def _register(books: Books, fields: Record) -> bool:
    match fields["type"]:
        case "wallet.created":
            books.wallets.append(fields["wallet"])
        case "invoice.created":
            books.invoices.append(fields["invoice"])
        case "limit.set":
            books.currencies.add(fields["currency"])
        case "payment.started":
            books.payments.append(fields["payment"])
        case _:
            return False
    return True


def _move_money(books: Books, entry: str, fields: Record) -> bool:
    match fields["type"]:
        case "wallet.deposited":
            books.deposits[fields["wallet"]] += int(fields["amount"])
            books.book(entry, fields)
        case "payment.processing":
            books.debit(entry, fields)
        case "payment.succeeded":
            books.move(fields["payment"], "in_flight", "settled")
        case "payment.failed" if fields["reason"] == "settlement_failed":
            debit = books.move(fields["payment"], "in_flight", "given_back")
            assert fields["day"] == debit.day, f"{entry}: given back to another day: {fields}"
            books.used[debit.currency, debit.day] -= debit.amount
            books.credit(entry, fields, debit)
        case "payment.refunding":
            books.move(fields["payment"], "settled", "refunding")
        case "payment.refunded":
            books.credit(entry, fields, books.move(fields["payment"], "refunding", "refunded"))
        case "payment.resolved":
            # What follows has its own entry, but for a refund that is not going to be made.
            if fields["outcome"] == "settled" and books.debits[fields["payment"]].place == "refunding":
                books.move(fields["payment"], "refunding", "settled")
        case _:
            return False
    return True


async def assert_books_balance(url: str, namespace: str) -> None:
    """Recompute everything from the journal and compare. Nothing may go on in the store meanwhile."""
    # No retries: with them a lost reply would not show.
    client = Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))
    async with client:
        records = RawRecords(client, f"{{{namespace}:00}}:")
        journal: Any = await client.xrange(f"{records.tag}journal")
        books = fold([(entry, named(said)) for entry, said in journal])
        currencies = sorted(books.currencies | {debit.currency for debit in books.debits.values()})
        wallets = await records.read("wallet", books.wallets)
        invoices = await records.read("invoice", books.invoices)
        payments = await records.read("payment", books.payments)
        users = await records.read("user", sorted({wallet["user"] for wallet in wallets.values()}))
        limits = await records.read("limit", currencies)
        settlements = await records.read("mock:settlement", list(books.debits))
        entries = await records.read_lists("entries", books.wallets)
    _compare_wallets(books, wallets, users, entries)
    _compare_payments(books, payments, invoices, settlements)
    _compare_invoices(payments, invoices)
    _compare_limits(books, limits)
    _compare_totals(books, wallets)


class RawRecords:
    """Reads records as they lie in the store."""

    def __init__(self, client: Redis, tag: str) -> None:
        self.tag = tag
        self._client = client

    async def read(self, kind: str, ids: Sequence[str]) -> dict[str, Record]:
        """Read hashes; one that does not exist is empty."""
        pipeline = self._client.pipeline(transaction=False)
        for record_id in ids:
            pipeline.hgetall(f"{self.tag}{kind}:{record_id}")
        return dict(zip(ids, await _execute(pipeline), strict=True))

    async def read_lists(self, kind: str, ids: Sequence[str]) -> dict[str, list[str]]:
        """Read lists."""
        pipeline = self._client.pipeline(transaction=False)
        for record_id in ids:
            pipeline.lrange(f"{self.tag}{kind}:{record_id}", 0, -1)
        return dict(zip(ids, await _execute(pipeline), strict=True))


async def _execute(pipeline: Any) -> list[Any]:
    replies: list[Any] = await pipeline.execute()
    return replies


def _compare_wallets(
    books: Books,
    wallets: Mapping[str, Record],
    users: Mapping[str, Record],
    entries: Mapping[str, list[str]],
) -> None:
    """A wallet holds what its entries say, its ledger balance also has what may yet come back."""
    in_flight: Counter[str] = Counter()
    for debit in books.debits.values():
        if debit.place in ("in_flight", "refunding"):
            in_flight[debit.wallet] += debit.amount
    for wallet_id, wallet in wallets.items():
        balance = books.balances[wallet_id]
        assert int(wallet["balance"]) == balance, f"{wallet_id}: {wallet}: {books.balances}"
        ledger = balance + in_flight[wallet_id]
        assert int(wallet["ledger"]) == ledger, f"{wallet_id}: {wallet}: {in_flight}"
        assert entries[wallet_id] == books.entries[wallet_id], f"{wallet_id}: its entries are others"
    found = {(user_id, field) for user_id, user in users.items() for field in user if field.startswith("wal_")}
    expected = {(wallet["user"], wallet_id) for wallet_id, wallet in wallets.items()}
    assert found == expected, f"wallets of users: {found}, by the journal {expected}"


def _compare_payments(
    books: Books,
    payments: Mapping[str, Record],
    invoices: Mapping[str, Record],
    settlements: Mapping[str, Record],
) -> None:
    assert set(books.debits) <= set(payments), "money was taken for a payment that was never started"
    for payment_id, payment in payments.items():
        debit = books.debits.get(payment_id)
        where = debit.place if debit else "wallet"
        if payment["status"] == "failed":
            place: Place = "given_back" if payment["failure"] == "settlement_failed" else "wallet"
        else:
            place = PLACES[payment["status"]]
        assert where == place, f"{payment_id}: its money is at {where}: {payment}"
        terms = ("user", "amount", "currency", "merchant")
        invoice = invoices[payment["invoice"]]
        assert all(payment[term] == invoice[term] for term in terms), f"{payment_id}: {payment}: {invoice}"
        has_code = payment["status"] in ("requires_confirmation", "canceled", "expired")
        assert bool(payment["challenge"]) == has_code, (
            f"{payment_id}: its code is still there or gone: {payment}"
        )
        if debit:
            assert debit.wallet == payment["wallet"], f"{payment_id}: from another wallet: {debit}"
            assert debit.day == payment["limit"].split()[0], f"{payment_id}: another day: {debit}"
            expected = payment["amount"], payment["currency"]
            assert (str(debit.amount), debit.currency) == expected, f"{payment_id}: {debit}: {payment}"
            state = settlements[payment_id].get("state")
            if state and where != "in_flight":
                assert where in BOOK_PLACES.get(state, OTHER_BOOK_PLACES), f"{payment_id}: {where}, but {state}"


def _compare_invoices(payments: Mapping[str, Record], invoices: Mapping[str, Record]) -> None:
    """An invoice names its live payment, by which it is being paid or was paid, and no more."""
    live: defaultdict[str, list[str]] = defaultdict(list)
    for payment_id, payment in payments.items():
        if payment["status"] == "requires_confirmation" or PLACES.get(payment["status"], "wallet") != "wallet":
            live[payment["invoice"]].append(payment_id)
    for invoice_id, invoice in invoices.items():
        own = live[invoice_id]
        assert len(own) <= 1, f"{invoice_id}: more than one live payment: {own}"
        assert invoice.get("payment") == (own[0] if own else None), f"{invoice_id}: {invoice}: {own}"
        assert invoice["status"] in ("open", "void"), f"{invoice_id}: {invoice}"
        assert not own or invoice["status"] == "open", f"{invoice_id}: void, but {own}"
        assert not {"paid_at", "refunded"} & set(invoice), (
            f"{invoice_id}: says what its payment says: {invoice}"
        )


def _compare_limits(books: Books, limits: Mapping[str, Record]) -> None:
    used = {counter: amount for counter, amount in books.used.items() if amount}
    stored = {
        (currency, day): int(amount)
        for currency, limit in limits.items()
        for day, amount in limit.items()
        if day != "limit" and amount != "0"
    }
    assert stored == used, f"used limits: {stored}, by the journal {used}"


def _compare_totals(books: Books, wallets: Mapping[str, Record]) -> None:
    """Money is neither made nor lost: deposits = balances + settled net of refunds + in flight."""
    deposits: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for wallet_id, wallet in wallets.items():
        deposits[wallet["currency"]] += books.deposits[wallet_id]
        found[wallet["currency"]] += int(wallet["balance"])
    for debit in books.debits.values():
        assert debit.currency == wallets[debit.wallet]["currency"], f"another currency: {debit}"
        if debit.place in ("in_flight", "settled", "refunding"):
            found[debit.currency] += debit.amount
    assert deposits == found, f"deposits {deposits}, found {found}"
