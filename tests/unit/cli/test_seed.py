"""The demo data and the guide to it: every refusal can be tried with what they name."""

from __future__ import annotations

import re

from support.http import Api
from support.scenes import SECRET

from technopay.cli.guide import guide_text
from technopay.cli.purchase import make_purchase
from technopay.cli.seed import seed
from technopay.cli.service import Service
from technopay.cli.sign_in import SignIn
from technopay.http import TokenAuthenticator


async def test_every_refusal_that_the_guide_names_is_really_refused(api: Api) -> None:
    await seed(api.engine)
    sign_in = SignIn(TokenAuthenticator(SECRET), api.signer)
    service = Service(f"{api.client.server.make_url('')}".rstrip("/"), api.engine, sign_in, lambda: b"")
    text = await guide_text(service)
    alice = (await api.get("/v1/wallets", user="demo-alice")).expect(200)["data"][0]["id"]

    simple = re.findall(r"^  (\w+) +invoice (inv_\S+)$", text, re.MULTILINE)
    others = re.findall(r"^  (\w+) +invoice (inv_\S+)\n +wallet  (wal_\S+), (\S+)$", text, re.MULTILINE)
    cases = [(*case, alice, "demo-alice") for case in simple if case[0] != "invoice_expired"]
    cases = [case for case in cases if case[0] not in {other[0] for other in others}] + others

    assert len(cases) == 5
    for code, invoice, wallet, user in cases:
        reply = await api.post("/v1/payments", {"invoice_id": invoice, "wallet_id": wallet}, user=user)
        assert reply.code == code


async def test_the_demo_data_is_what_the_contract_promises(api: Api) -> None:
    await seed(api.engine)

    for user in ("demo-alice", "demo-blocked", "demo-inactive", "demo-poor", "demo-unreachable"):
        (await api.operate("GET", f"/users/{user}")).expect(200)
    invoices = (await api.get("/v1/invoices?limit=100", user="demo-alice")).expect(200)["data"]
    merchants = {invoice["merchant"] for invoice in invoices}
    endings = ("declines", "errors", "slow", "timeout", "lost", "flaky", "stuck")
    assert merchants >= {f"acme-{ending}" for ending in endings}


async def test_a_client_makes_a_whole_purchase_over_http(api: Api) -> None:
    await seed(api.engine)

    purchase = await make_purchase(f"{api.client.server.make_url('')}".rstrip("/"))

    assert purchase.payment.status == "succeeded"
    assert re.fullmatch(r"\d{6}", purchase.code)
    assert purchase.started.confirmation is not None
    assert purchase.started.confirmation.sent_to == "a***@example.com"
    assert purchase.payment.limits[0].used == purchase.limit_before.used + purchase.payment.amount
