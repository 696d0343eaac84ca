"""The verdict of a run with kills finds a wrong journal. Its entries are those of the engine."""

from support.fixtures.at_rest import Entries
from support.fixtures.client_verdict import count_doubled, count_overruns
from support.fixtures.engine_setup import make_setup, quick_settings
from support.fixtures.journal import named
from support.fixtures.store_setup import client_of

from technopay.engine import Engine
from technopay.storage import RedisStore

LIMIT = 2_600


async def test_second_debits_and_debits_over_the_limit_are_counted(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        await engine.set_limit(currency="EUR", amount=LIMIT)
        alice = await make_setup(engine, fake_store)
        await alice.pay(await alice.invoice(LIMIT - 100))
        found = await client_of(fake_store).xrange(fake_store._keys.journal)
    entries: Entries = [(entry, named(fields)) for entry, fields in found]
    assert (count_doubled(entries), count_overruns(entries)) == (0, 0)

    [debit] = [fields for _, fields in entries if fields["type"] == "payment.processing"]
    assert count_doubled([*entries, ("later", debit)]) == 1
    assert count_overruns([*entries, ("later", debit | {"global_used": str(LIMIT + 1)})]) == 1
    [limit] = [fields for _, fields in entries if fields["type"] == "limit.set"]
    lifted = ("lifted", limit | {"limit": ""})
    assert count_overruns([*entries, lifted, ("later", debit | {"global_used": str(LIMIT + 1)})]) == 0
