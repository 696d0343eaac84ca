"""The demo data and its guide: every refusal can be tried with their names."""

import re

import pytest
from support.fixtures.engine_setup import SECRET
from support.fixtures.http_api import Api
from support.fixtures.store_setup import client_of

from technopay.cli.auth import SignIn
from technopay.cli.demo.guide import guide_text
from technopay.cli.demo.seed import seed
from technopay.engine import StoreUnavailable
from technopay.http.auth.tokens import TokenAuthenticator


async def test_every_refusal_that_the_guide_names_is_really_refused(api: Api) -> None:
    await seed(api.engine)
    sign_in = SignIn(TokenAuthenticator(SECRET), api.signer)
    url = f"{api.client.server.make_url('')}".rstrip("/")
    text = await guide_text(url, api.engine, sign_in)
    alice = (await api.get("/v1/wallets", user="demo-alice")).expect(200)["data"][0]["id"]

    simple = re.findall(r"^  (\w+) +invoice (inv_\S+)$", text, re.MULTILINE)
    others = re.findall(r"^  (\w+) +invoice (inv_\S+)\n +wallet  (wal_\S+), (\S+)$", text, re.MULTILINE)
    cases = [(*case, alice, "demo-alice") for case in simple if case[0] != "invoice_expired"]
    cases = [case for case in cases if case[0] not in {other[0] for other in others}] + others

    assert len(cases) == 5
    for code, invoice, wallet, user in cases:
        reply = await api.post("/v1/payments", {"invoice_id": invoice, "wallet_id": wallet}, user=user)
        assert reply.code == code


async def test_the_demo_data_is_that_of_the_contract(api: Api) -> None:
    await seed(api.engine)

    entries = await client_of(api.store).xrange(api.store._keys.journal)
    users = {entry["user.created"] for _, entry in entries if "user.created" in entry}
    assert users == {f"demo-{user}" for user in ("alice", "blocked", "inactive", "poor", "unreachable")}
    invoices = (await api.get("/v1/invoices?limit=100", user="demo-alice")).expect(200)["data"]
    merchants = {invoice["merchant"] for invoice in invoices}
    endings = ("declines", "errors", "slow", "timeout", "lost", "flaky", "stuck")
    assert merchants >= {f"acme-{ending}" for ending in endings}


async def test_an_interrupted_seeding_is_repeated_without_overwriting(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(**_: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(api.engine, "deactivate_wallet", cut_off)
        with pytest.raises(StoreUnavailable):
            await seed(api.engine)
    await api.engine.set_limit(currency="EUR", amount=7)
    for _ in range(2):
        await seed(api.engine)
        await api.engine.unblock_user(user_id="demo-blocked")

    assert [limit.limit for limit in await api.engine.list_all_limits()] == [7]
    assert (await api.engine.get_user(user_id="demo-blocked")).status == "active"
    for user in ("demo-alice", "demo-blocked", "demo-inactive", "demo-poor", "demo-unreachable"):
        (wallet,) = (await api.engine.list_wallets(user_id=user)).data
        assert wallet.balance == (100 if user == "demo-poor" else 50_000)
        assert wallet.status == ("inactive" if user == "demo-inactive" else "active")
        merchants = [each.merchant for each in (await api.engine.list_invoices(user_id=user, limit=100)).data]
        assert len(merchants) == len(set(merchants))
