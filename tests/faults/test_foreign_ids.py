"""Ids of another user at every endpoint of a user: the responses are those for missing ids."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from support.fixtures.dumps import dump
from support.fixtures.engine_setup import wait_for
from support.fixtures.http_api import Json, Person, Reply, make_person, running_api
from support.fixtures.store_setup import Setup, client_of

from technopay.http.app import API_ROUTES
from technopay.http.auth.tokens import PAYMENTS
from technopay.storage import RedisStore

LISTS = ("/v1/wallets", "/v1/invoices", "/v1/payments", "/v1/limits")


@dataclass(frozen=True)
class Ids:
    """Ids of one user, or similar missing ids."""

    wallet: str
    invoice: str
    payment: str
    key: str
    """The key of the calls of the payment's user."""

    def missing(self) -> "Ids":
        """Make ids that sort next to these."""
        wallet, invoice, payment = (f"{each[:-4]}0000" for each in (self.wallet, self.invoice, self.payment))
        return Ids(wallet, invoice, payment, self.key)

    def hide_in(self, text: str) -> str:
        """Replace these ids, the only permitted difference."""
        for each in (self.wallet, self.invoice, self.payment):
            text = text.replace(each, "ID")
        return text


Ask = Callable[[Person, Ids, Ids], Any]

CALLS: Mapping[str, list[Ask]] = {
    "GET /v1/wallets/{wallet_id}": [lambda me, own, ids: me.get(f"/wallets/{ids.wallet}")],
    "GET /v1/wallets/{wallet_id}/entries": [
        lambda me, own, ids: me.get(f"/wallets/{ids.wallet}/entries"),
        lambda me, own, ids: me.get(f"/wallets/{ids.wallet}/entries?cursor=1&limit=1"),
    ],
    "GET /v1/wallets/{wallet_id}/statement": [
        lambda me, own, ids: me.get(f"/wallets/{ids.wallet}/statement"),
        lambda me, own, ids: me.get(f"/wallets/{ids.wallet}/statement?cursor=0.1.9&limit=1"),
        lambda me, own, ids: me.get(f"/wallets/{ids.wallet}/statement", headers={"Accept": "text/csv"}),
    ],
    "GET /v1/invoices/{invoice_id}": [lambda me, own, ids: me.get(f"/invoices/{ids.invoice}")],
    "POST /v1/payments": [
        lambda me, own, ids: start(me, own.invoice, ids.wallet),
        lambda me, own, ids: start(me, ids.invoice, own.wallet),
        lambda me, own, ids: start(me, ids.invoice, ids.wallet),
        lambda me, own, ids: start(me, ids.invoice, ids.wallet, key=ids.key),
    ],
    "POST /v1/payments/{payment_id}/confirm": [
        lambda me, own, ids: me.post(f"/payments/{ids.payment}/confirm", {"code": "123456"}),
        lambda me, own, ids: me.post(f"/payments/{ids.payment}/confirm?wait=0", {"code": "x"}),
    ],
    "POST /v1/payments/{payment_id}/resend": [
        lambda me, own, ids: me.post(f"/payments/{ids.payment}/resend"),
        lambda me, own, ids: me.post(f"/payments/{ids.payment}/resend", key=ids.key),
    ],
    "POST /v1/payments/{payment_id}/cancel": [
        lambda me, own, ids: me.post(f"/payments/{ids.payment}/cancel"),
        lambda me, own, ids: me.post(f"/payments/{ids.payment}/cancel", key=ids.key),
    ],
    "GET /v1/payments/{payment_id}": [
        lambda me, own, ids: me.get(f"/payments/{ids.payment}"),
        lambda me, own, ids: me.get(f"/payments/{ids.payment}?wait=1"),
    ],
}


async def start(me: Person, invoice_id: str, wallet_id: str, **options: Any) -> Reply:
    """Send a start for an invoice and a wallet of any user."""
    return await me.post("/payments", {"invoice_id": invoice_id, "wallet_id": wallet_id}, **options)


def all_of(reply: Reply) -> str:
    """Render a problem with its headers, without its id and the time."""
    headers = sorted(f"{name}: {value}" for name, value in reply.headers.items() if name != "Date")
    return "\n".join([*headers, reply.text]).replace(reply.json["request_id"], "REQUEST")


def key_of(person: Person) -> str:
    return f"key of {person.id}"


async def in_every_state(person: Person) -> dict[str, Json]:
    """Make one payment for each possible state."""
    api, key = person.api, key_of(person)
    canceled, waiting, failed = [await person.start() for _ in range(3)]
    (await person.post(f"/payments/{canceled['id']}/cancel", key=key)).expect(200)
    for _ in range(5):
        (await person.confirm(failed, code="no code")).refuse(422, "confirmation_invalid")
    (await person.post(f"/payments/{waiting['id']}/resend", key=key)).expect(200)
    again = await person.ask_to_start(await person.invoice(), key=key)
    refunded = await person.pay()
    (await api.operate("POST", f"/payments/{refunded['id']}/refund")).expect(200)
    given_back = await person.start(merchant="shop-declines")
    (await person.confirm(given_back)).refuse(402, "settlement_failed")
    stuck = await person.start(merchant="shop-stuck")
    (await person.confirm(stuck, "?wait=0")).expect(202)
    return {
        "canceled": canceled, "failed": failed, "waiting": waiting, "started": again.expect(201),
        "succeeded": await person.pay(), "refunded": refunded, "given back": given_back, "stuck": stuck,
    }  # fmt: skip


@dataclass(frozen=True)
class Two:
    """Two users with equal records."""

    people: tuple[Person, Person]
    payments: tuple[dict[str, Json], dict[str, Json]]
    setup: Setup

    def ids(self, whose: int, state: str) -> Ids:
        payment = self.payments[whose][state]
        return Ids(
            self.people[whose].wallet_id, payment["invoice_id"], payment["id"], key_of(self.people[whose])
        )


@pytest.fixture
async def two(store: RedisStore) -> AsyncIterator[Two]:
    # Payments set aside are at rest; long pauses prevent writes of the background meanwhile.
    async with running_api(store, set_aside_interval_s=3_600.0) as api:
        people = await make_person(api, "alice", 100_000), await make_person(api, "bob", 100_000)
        payments = await in_every_state(people[0]), await in_every_state(people[1])
        setup = Setup(store)

        async def is_at_rest() -> bool:
            stuck = [await setup.payment(each["stuck"]["id"]) for each in payments]
            last = (await setup.entries())[-1][0]
            relayed = await client_of(store).hget(setup.keys.key("relay"), "cursor")
            return all(payment.set_aside for payment in stuck) and relayed == last

        await wait_for(is_at_rest)
        yield Two(people, payments, setup)


def test_the_calls_are_all_that_a_user_can_ask_about_an_id() -> None:
    routes = {f"{route.method} {route.path}" for route in API_ROUTES if route.scope == PAYMENTS}
    assert routes == set(CALLS) | {f"GET {path}" for path in LISTS}


async def test_a_foreign_id_is_answered_as_a_missing_one_and_changes_nothing(two: Two) -> None:
    before = await dump(two.setup.store)
    for me, other in ((0, 1), (1, 0)):
        own = two.ids(me, "waiting")
        for state in two.payments[other]:
            foreign = two.ids(other, state)
            for name, calls in CALLS.items():
                for call in calls:
                    replies = [
                        (ids, await call(two.people[me], own, ids)) for ids in (foreign, foreign.missing())
                    ]
                    assert [reply.status for _, reply in replies] == [404, 404], f"{name}, {state}"
                    told = {ids.hide_in(all_of(reply)) for ids, reply in replies}
                    assert len(told) == 1, f"{name}, {state}: {told}"
        await assert_foreign_cursors_are_as_missing_ones(two.people[me], two.ids(other, "started"))
    assert await dump(two.setup.store) == before


async def assert_foreign_cursors_are_as_missing_ones(me: Person, foreign: Ids) -> None:
    for path, name in (("/wallets", "wallet"), ("/invoices", "invoice"), ("/payments", "payment")):
        pages = [
            (await me.get(f"{path}?cursor={getattr(ids, name)}&limit=100")).text
            for ids in (foreign, foreign.missing())
        ]
        assert pages[0] == pages[1]
        everything = (await me.get(f"{path}?limit=100")).json["data"]
        assert {each["user_id"] for each in everything} == {me.id}
