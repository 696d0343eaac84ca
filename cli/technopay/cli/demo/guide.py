"""The guide that `demo` prints: the addresses, one purchase by hand, and a way to each refusal."""

from importlib.resources import files

from technopay.cli.auth import SignIn
from technopay.engine import Engine, Invoice, Wallet
from technopay.http.api.demo import TOKEN_LIFETIME_S


async def guide_text(url: str, engine: Engine, sign_in: SignIn) -> str:
    signer = sign_in.require_signer("the guide")
    alice = await _wallet(engine, "demo-alice")
    invoices = await _invoices(engine, "demo-alice")
    refusals = [
        f"  invoice_expired       invoice {invoices['Cinema'].id}",
        f"  daily_limit_exceeded  invoice {invoices['Jeweller'].id}",
        f"  invoice_not_found     invoice {(await _invoices(engine, 'demo-poor'))['Bookshop'].id}",
    ]
    for code, user_id in (
        ("insufficient_funds", "demo-poor"),
        ("wallet_inactive", "demo-inactive"),
        ("user_blocked", "demo-blocked"),
    ):
        invoice = (await _invoices(engine, user_id))["Bookshop"]
        wallet = await _wallet(engine, user_id)
        refusals.append(f"  {code:21} invoice {invoice.id}\n{'':24}wallet  {wallet.id}, {user_id}")
    text = files(__package__).joinpath("guide.txt").read_text(encoding="utf-8").removesuffix("\n")
    return text.format(
        url=url,
        token=signer.sign("demo-alice", admin=False, lifetime_s=TOKEN_LIFETIME_S),
        admin=signer.sign("demo-admin", admin=True, lifetime_s=TOKEN_LIFETIME_S),
        invoice=invoices["Bookshop"].id,
        wallet=alice.id,
        refusals="\n".join(refusals),
        troubles="\n".join(
            f"  {merchant:21} invoice {invoice.id}"
            for merchant, invoice in sorted(invoices.items())
            if merchant.startswith("acme-")
        ),
    )


async def _wallet(engine: Engine, user_id: str) -> Wallet:
    return (await engine.list_wallets(user_id=user_id)).data[0]


async def _invoices(engine: Engine, user_id: str) -> dict[str, Invoice]:
    page = await engine.list_invoices(user_id=user_id, limit=100)
    return {invoice.merchant: invoice for invoice in page.data}
