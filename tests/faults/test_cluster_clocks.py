"""A cluster whose nodes have different times: each partition goes by the clock of its own node."""

import asyncio
from datetime import UTC, datetime, timedelta

from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import lax_settings, make_setup
from support.fixtures.zones import zone_at_midday
from support.servers.cluster_server import cluster_server
from support.servers.faked_server import FakedServer, faked_clock

from technopay.engine import DailyLimitExceeded, Engine
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys

PARTITIONS, PRICE = 12, 100
HOUR = timedelta(hours=1)


async def test_a_node_whose_clock_goes_back_an_hour_loses_and_passes_nothing() -> None:
    zone = zone_at_midday()
    with (
        faked_clock(datetime.now(UTC)) as clock,
        cluster_server("valkey", replicas=0, first=clock.environment) as nodes,
    ):
        node = FakedServer(nodes.nodes[0], clock.stamp)
        async with (
            RedisStore.connect(nodes.url, initialise=True, partitions=PARTITIONS, timezone=zone) as store,
            Engine(store, lax_settings()) as engine,
        ):
            users = [f"user{number}" for number in range(24)]
            setups = [await make_setup(engine, store, user, email=f"{user}@example.com") for user in users]
            owners = [nodes.owner_of(Keys("tp", store.partition_of(user))) for user in users]
            moved = owners.count(0)
            assert 0 < moved < len(setups)
            await engine.set_limit(currency="EUR", amount=3 * PRICE * len(setups))

            async def pay_all() -> None:
                invoices = [await each.invoice(PRICE) for each in setups]
                paying = (each.pay(invoice) for each, invoice in zip(setups, invoices, strict=True))
                paid = await asyncio.gather(*paying)
                assert {payment.status for payment in paid} == {"succeeded"}

            await pay_all()
            node.move(-HOUR)
            waiting = [await each.start(await each.invoice(PRICE)) for each in setups]
            for each, payment in zip(setups, waiting, strict=True):
                assert (await each.confirm(payment)).status == "succeeded"
            node.set(datetime.now(UTC))
            await pay_all()
            for each in setups:
                try:
                    await each.pay(await each.invoice(1))
                except DailyLimitExceeded:
                    continue
                raise AssertionError("the limit was passed")
            assert [limit.used for limit in await engine.list_all_limits()] == [3 * PRICE * len(setups)]
        await assert_books_balance(nodes.url, "tp")
