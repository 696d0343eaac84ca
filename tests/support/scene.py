"""A small world in a store: users, wallets, invoices and payments, made and looked at without an engine."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis
from support.journal import named
from support.store import partition, read_limits

from technopay.engine import commands
from technopay.engine.commands import CreateUser, CreateWallet, FindPayment, ReadPayment, SetLimit
from technopay.engine.models import Limit, OperatorPayment, Payment, Wallet, from_ms
from technopay.engine.ports import Outcome
from technopay.engine.values import Evidence, Lease, NotificationContext, Operation, Verdict
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys
from technopay.storage.server.client import FakeClient, ServerClient

ALONE = Lease("owner-a", "", keep=False)
KEY_ID = "0123abcd"


def evidence_of(answer: str, *versions: int, key_id: str = KEY_ID) -> Evidence:
    """Make the evidence of an answer that matches these versions."""
    matching = "".join(f",{version}" for version in versions) + ","
    return Evidence(key_id, matching, f"{key_id}:{answer}")


RIGHT, WRONG = evidence_of("right", 1), evidence_of("wrong")
NEXT = evidence_of("next", 2)
"""Evidence of the code of the first version, of a wrong one, and of the code of the second version."""

DAY_MS = 24 * 3600 * 1000
CODE_MS = 300_000
AMOUNT_MAX = 2**53 - 1

Dump = dict[str, Any]

PARTITION = 0
"""That of the store of a test; another one for the kind of store `other_partition`."""

_numbers = count(1)
_clients: WeakKeyDictionary[RedisStore, Any] = WeakKeyDictionary()


def new_id(prefix: str) -> str:
    """Make an id of the partition of the test's store that sorts after those made before."""
    return f"{prefix}_{PARTITION:02x}{next(_numbers):06d}"


def message_id(entry_id: str) -> str:
    """Return the id of the message of an entry of the journal of the test's store."""
    return f"msg_{PARTITION:02x}{entry_id}"


def operation(*, kept_ms: int = 60_000, fingerprint: str = "fingerprint") -> Operation:
    """Make the identity of a new call that is recorded."""
    return Operation(new_id("op"), fingerprint, kept_ms)


def unrecorded() -> Operation:
    """Make the identity of a new call that leaves no record: the payment is the record."""
    return Operation(new_id("op"))


def client_of(store: RedisStore) -> Any:
    """Answer a client to look behind the scripts."""
    client = store._partition.client
    if isinstance(client, FakeClient):
        kept_by = client._client.connection_pool.connection_kwargs["server"]
        return FakeAsyncRedis(server=kept_by, decode_responses=True, encoding_errors="replace")
    assert isinstance(client, ServerClient)
    if store not in _clients:
        _clients[store] = Redis.from_url(str(store.url), decode_responses=True, encoding_errors="replace")
        store._resources.push_async_callback(_close_client, store)
    return _clients[store]


async def _close_client(store: RedisStore) -> None:
    await _clients.pop(store).aclose()


async def dump(store: RedisStore) -> Dump:
    """Read every key of the store, each as its type wants it."""
    return await dump_keys(client_of(store), store._keys)


async def dump_keys(client: Any, keys: Keys) -> Dump:
    """Read every key of a store that nobody needs to have opened."""
    tag, found = keys.key("meta").removesuffix(":meta"), {}
    async for key in client.scan_iter(match=f"{tag}:*", count=1000):
        found[key.removeprefix(f"{tag}:")] = await _value_of(client, key)
    return found


async def _value_of(client: Any, key: str) -> Any:
    match await client.type(key):
        case "hash":
            return await client.hgetall(key)
        case "zset":
            return dict(await client.zrange(key, 0, -1, withscores=True))
        case "list":
            return await client.lrange(key, 0, -1)
        case "set":
            return await client.smembers(key)
        case "stream":
            return await read_stream(client, key)
        case "string":
            return await client.get(key)
        case other:
            raise AssertionError(f"{key} is a {other}")


async def read_stream(client: Any, key: str) -> list[tuple[str, dict[str, str]]]:
    """Read a stream: ids and fields, in order."""
    return [(entry, named(fields)) for entry, fields in await client.xrange(key)]


class Scene:
    """Makes what a test needs, by the store's own methods, and looks at what the scripts wrote."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.keys: Keys = store._keys

    async def now_ms(self) -> int:
        """Answer the store's time."""
        seconds, microseconds = await client_of(self.store).time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def user(self, user_id: str, email: str | None = None, phone: str | None = None) -> str:
        """Make a user, with an e-mail address unless told otherwise."""
        address = email if email or phone else f"{user_id}@example.com"
        assert (await self.store.run(CreateUser(operation(), user_id, address, phone))).code == "ok"
        return user_id

    async def wallet(self, user_id: str = "alice", balance: int = 10_000, currency: str = "EUR") -> str:
        """Make a wallet with money in it."""
        wallet_id = new_id("wal")
        assert (await self.store.run(CreateWallet(operation(), wallet_id, user_id, currency))).code == "ok"
        if balance:
            assert (await self.deposit(wallet_id, balance)).code == "ok"
        return wallet_id

    async def deposit(self, wallet_id: str, amount: int, lease: Lease = ALONE) -> Outcome[Wallet]:
        """Put money into a wallet."""
        return await self.store.run(commands.Deposit(operation(), wallet_id, amount), lease)

    async def invoice(
        self,
        user_id: str = "alice",
        amount: int = 1_000,
        currency: str = "EUR",
        expires_at_ms: int | None = None,
    ) -> str:
        """Enter an invoice, which is due in a day unless told otherwise."""
        at = from_ms(expires_at_ms if expires_at_ms is not None else await self.now_ms() + DAY_MS)
        invoice = new_invoice(user_id, amount, currency, at)
        assert (await self.store.run(invoice)).code == "ok"
        return invoice.invoice_id

    async def start(
        self, wallet_id: str, invoice_id: str, user_id: str = "alice", lease: Lease = ALONE, **changes: Any
    ) -> Outcome[Payment]:
        """Start a payment."""
        return await self.store.run(start_command(wallet_id, invoice_id, user_id, **changes), lease)

    async def started(self, wallet_id: str, invoice_id: str, user_id: str = "alice", **changes: Any) -> str:
        """Start a payment; answer its id."""
        outcome = await self.start(wallet_id, invoice_id, user_id, **changes)
        assert outcome.code == "ok"
        assert outcome.value is not None
        return outcome.value.id

    async def confirm(
        self, payment_id: str, evidence: Evidence = RIGHT, user_id: str = "alice", lease: Lease = ALONE
    ) -> Outcome[Payment]:
        """Confirm a payment."""
        command = commands.ConfirmPayment(new_id("op"), payment_id, user_id, evidence)
        return await self.store.run(command, lease)

    async def processing(self, wallet_id: str, amount: int = 1_000, user_id: str = "alice") -> tuple[str, str]:
        """Take a payment's money; answer the payment and the claim."""
        payment_id = await self.started(wallet_id, await self.invoice(user_id, amount), user_id)
        outcome = await self.confirm(payment_id, user_id=user_id)
        assert outcome.code == "ok"
        return payment_id, outcome.details["claim"]

    async def succeeded(self, wallet_id: str, amount: int = 1_000) -> str:
        """Bring a payment to its good end."""
        payment_id, claim = await self.processing(wallet_id, amount)
        assert (await self.complete(payment_id, claim, "settled")).code == "ok"
        return payment_id

    async def refunding(self, wallet_id: str, amount: int = 1_000) -> tuple[str, str]:
        """Begin to give a succeeded payment back; answer the payment and the claim."""
        payment_id = await self.succeeded(wallet_id, amount)
        outcome = await self.begin_refund(payment_id)
        assert outcome.code == "ok"
        return payment_id, outcome.details["claim"]

    async def complete(self, payment_id: str, claim: str, verdict: Verdict) -> Outcome[Payment]:
        """Write down what the settlement service decided."""
        return await self.store.run(commands.CompletePayment(payment_id, claim, verdict), ALONE)

    async def begin_refund(self, payment_id: str, refund_id: str = "ref_001") -> Outcome[Payment]:
        """Begin to give a payment back."""
        return await self.store.run(commands.BeginRefund(operation(), payment_id, refund_id), ALONE)

    async def cancel(self, payment_id: str, user_id: str = "alice") -> Outcome[Payment]:
        """Give up a payment that waits for its code."""
        return await self.store.run(commands.CancelPayment(unrecorded(), payment_id, user_id), ALONE)

    async def set_wallet_status(self, wallet_id: str, status: str, lease: Lease = ALONE) -> Outcome[Wallet]:
        """Activate or deactivate a wallet."""
        return await self.store.run(commands.SetWalletStatus(operation(), wallet_id, status), lease)

    async def payment(self, payment_id: str) -> Payment:
        """Read a payment as its user sees it."""
        user_id = (await self.fields("payment", payment_id))["user"]
        outcome = await self.store.run(ReadPayment(payment_id, user_id))
        assert outcome.value is not None
        return outcome.value

    async def operator_payment(self, payment_id: str) -> OperatorPayment:
        """Read a payment as operators see it."""
        outcome = await self.store.run(FindPayment(payment_id))
        assert outcome.value is not None
        return outcome.value

    async def context(self, payment_id: str) -> NotificationContext | None:
        """Read what a message says of a payment."""
        command = commands.ReadNotificationContexts(partition(self.store), [payment_id])
        contexts = (await self.store.run(command)).value
        assert contexts is not None
        return contexts[0]

    async def limit(self, currency: str = "EUR") -> Limit:
        """Read the one limit."""
        (limit,) = await read_limits(self.store, None)
        assert limit.currency == currency
        return limit

    async def set_limit(self, currency: str, amount: int | None) -> Outcome[Limit]:
        """Set or lift a limit."""
        return await self.store.run(SetLimit(operation(), currency, amount))

    async def fields(self, kind: str, record_id: str) -> dict[str, str]:
        """Read a record as it is stored."""
        found: dict[str, str] = await client_of(self.store).hgetall(self.keys.key(kind, record_id))
        return found

    async def write(self, kind: str, record_id: str, **fields: str | int) -> None:
        """Write into a record behind the scripts' back."""
        await client_of(self.store).hset(self.keys.key(kind, record_id), mapping=fields)

    async def lock_out(self, user_id: str, failures: int, *, left_ms: int = DAY_MS) -> int:
        """Make so many wrong codes of a user, behind the scripts' back; return when their window ends."""
        until = await self.now_ms() + left_ms
        await self.write("user", user_id, failures=f"{until} {failures}")
        return until

    async def code(self, payment_id: str) -> dict[str, str]:
        """Read the state of a payment's code; nothing when it has done its work."""
        found = await client_of(self.store).get(self.keys.key("code", payment_id))
        code: dict[str, str] = json.loads(found) if found else {}
        return code

    async def write_code(self, payment_id: str, **parts: str | int | None) -> None:
        """Change the state of a payment's code behind the scripts' back; None removes a part."""
        changed = await self.code(payment_id) | parts
        code = {name: str(part) for name, part in changed.items() if part is not None}
        await client_of(self.store).set(self.keys.key("code", payment_id), json.dumps(code))

    async def money(self, wallet_id: str) -> tuple[int, int]:
        """Answer what a wallet holds and what may yet come back to it."""
        fields = await self.fields("wallet", wallet_id)
        return int(fields["balance"]), int(fields["ledger"]) - int(fields["balance"])

    async def day(self, payment_id: str) -> str:
        """Answer the day that a payment was charged to."""
        return (await self.fields("payment", payment_id))["global_period"]

    async def counter(self, currency: str = "EUR") -> dict[str, str]:
        """Read the limit of a currency and what was used by day, as stored."""
        return await self.fields("limit", f"global:{currency}")

    async def due_at(self, member: str) -> int | None:
        """Answer when something on the agenda is due."""
        score = await client_of(self.store).zscore(self.keys.key("agenda"), member)
        return None if score is None else int(score)

    async def make_due(self, member: str) -> None:
        """Make something on the agenda due now."""
        await client_of(self.store).zadd(self.keys.key("agenda"), {member: 0})

    async def journal(self) -> list[tuple[str, dict[str, str]]]:
        """Read the journal: types and the rest, in order; a time only where the clock had gone back."""
        found = []
        for _, fields in await self.entries():
            rest = dict(fields)
            found.append((rest.pop("type"), rest))
        return found

    async def entries(self) -> list[tuple[str, dict[str, str]]]:
        """Read the journal as it is stored: ids and fields, in order."""
        return await read_stream(client_of(self.store), self.keys.journal)

    async def news(self, before: list[Any]) -> list[tuple[str, dict[str, str]]]:
        """Read what was appended to the journal since it was read."""
        return (await self.journal())[len(before) :]


def start_command(
    wallet_id: str,
    invoice_id: str,
    user_id: str = "alice",
    *,
    identity: Operation | None = None,
    payment_id: str | None = None,
    method: str = "",
    lifetime_ms: int = CODE_MS,
    attempts: int = 5,
    resends: int = 3,
    codes_per_hour: int | None = None,
) -> commands.StartPayment:
    """Make the command that starts a payment."""
    return commands.StartPayment(
        operation=identity or unrecorded(),
        payment_id=payment_id or new_id("pay"),
        user_id=user_id,
        wallet_id=wallet_id,
        invoice_id=invoice_id,
        method=method,
        key_id=KEY_ID,
        code_lifetime_ms=lifetime_ms,
        attempts=attempts,
        resends=resends,
        codes_per_hour=codes_per_hour,
    )


def new_invoice(
    user_id: str,
    amount: int,
    currency: str,
    expires_at: datetime,
    reference: str | None = None,
    identity: Operation | None = None,
) -> commands.CreateInvoice:
    """Make an invoice to enter."""
    return commands.CreateInvoice(
        operation=identity or operation(),
        invoice_id=new_id("inv"),
        user_id=user_id,
        amount=amount,
        currency=currency,
        merchant="Shop",
        description=None,
        reference=reference,
        expires_at=expires_at,
    )
