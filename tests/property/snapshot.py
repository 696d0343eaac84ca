"""All records as stored, read in one step, and their fields according to the model."""

import json
import re
from collections.abc import Sequence
from typing import Any

from property.model import WAITING, Contract, Payment
from redis.asyncio import Redis

from technopay.storage.redis_keys import Keys

Fields = dict[str, str | None]

READ = """
local tag = string.match(KEYS[1], '^{[^}]+}:')
local records = {}
for i, name in ipairs(ARGV) do
    if string.find(name, '^code:') then
        records[i] = redis.call('GET', tag .. name) or ''
    else
        records[i] = redis.call('HGETALL', tag .. name)
    end
end
return {redis.call('XLEN', KEYS[1]), records}
"""

CURRENCIES = ("EUR", "USD")
DAY = re.compile("[0-9-]{10}")


async def read_snapshot(client: Redis, partitions: Sequence[Keys], contract: Contract) -> dict[str, Any]:
    """Read every record of the model in all partitions, and the length of the journals."""
    names = [*expected_fields(contract), *(f"code:{payment_id}" for payment_id in contract.payments)]
    found: dict[str, Any] = {name: {} for name in names}
    length, used = 0, dict.fromkeys(CURRENCIES, 0)
    for keys in partitions:
        entries, records = await client.eval(READ, 1, keys.journal, *names)
        length += entries
        for name, record in zip(names, records, strict=True):
            if isinstance(record, list):
                found[name] |= dict(zip(record[::2], record[1::2], strict=True))
            else:
                found[name] = record or found[name]
        for currency in CURRENCIES:
            days = found[f"limit:global:{currency}"]
            used[currency] += sum(int(days.pop(day)) for day in list(days) if DAY.fullmatch(day))
    for payment_id in contract.payments:
        code = json.loads(found.pop(f"code:{payment_id}") or "{}")
        found[f"payment:{payment_id}"] |= {f"code {name}": value for name, value in code.items()}
    for currency in CURRENCIES:
        found[f"limit:global:{currency}"]["used"] = str(used[currency])
    return found | {"journal": length}


def differences(snapshot: dict[str, Any], contract: Contract) -> list[str]:
    """Return the differences between a snapshot and the model."""
    return [
        f"{name} {field}: found {found}, expected {value}"
        for name, fields in expected_fields(contract).items()
        for field, value in fields.items()
        if (found := snapshot[name].get(field)) != value
    ]


def expected_fields(contract: Contract) -> dict[str, Fields]:
    """Return the required fields of every record; None for a field that must be absent."""
    records: dict[str, Fields] = {}
    for user_id, user in contract.users.items():
        records[f"user:{user_id}"] = {"status": user.status}
    for wallet_id, wallet in contract.wallets.items():
        records[f"user:{wallet.user}"][wallet_id] = ""
        records[f"wallet:{wallet_id}"] = {
            "balance": str(wallet.balance),
            "ledger": str(wallet.balance + wallet.in_flight),
            "status": wallet.status,
        }
    for invoice_id, invoice in contract.invoices.items():
        records[f"invoice:{invoice_id}"] = {
            # Whether it is in payment, paid or refunded follows from its payment.
            "status": "void" if invoice.status == "void" else "open",
            "payment": invoice.live,
        }
    for payment_id, payment in contract.payments.items():
        records[f"payment:{payment_id}"] = _payment(payment)
    for currency in CURRENCIES:
        limit, used = contract.limits.get(currency), contract.used.get(currency, 0)
        records[f"limit:global:{currency}"] = {
            "limit": None if limit is None else str(limit),
            "used": str(used),
        }
    return records


def _payment(payment: Payment) -> Fields:
    fields: Fields = {
        "status": payment.status,
        "failure": payment.failure,
        "set_aside": "1" if payment.set_aside else None,
        "balance": None if payment.balance_after is None else str(payment.balance_after),
    }
    if payment.status not in (WAITING, "canceled"):
        return fields | {"code version": None}
    counts = {"version": payment.issue, "attempts": payment.attempts, "resends": payment.resends}
    return (
        fields
        | {f"code {name}": str(count) for name, count in counts.items()}
        | {"code method": payment.method}
    )
