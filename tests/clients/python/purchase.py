"""Pays an invoice of a demo with the generated client: `python purchase.py URL`."""

import sys
import time

from technopay_client import AuthenticatedClient, Client
from technopay_client.api.demo import mock_inbox, mock_token
from technopay_client.api.payments import (
    confirm_payment,
    get_wallet,
    list_invoices,
    list_wallets,
    start_payment,
)
from technopay_client.models import (
    ConfirmBody,
    Inbox,
    InvoicePage,
    InvoiceStatus,
    Payment,
    PaymentStatus,
    Problem,
    StartPaymentBody,
    Token,
    TokenBody,
    Wallet,
    WalletPage,
)

USER = "demo-alice"
CODE_S_MAX = 10.0


def purchase(url: str) -> None:
    """Sign in, choose an invoice, start, try a wrong code, confirm, and read the wallet."""
    open_client = Client(base_url=url)
    token = mock_token.sync(client=open_client, body=TokenBody(user_id=USER))
    assert isinstance(token, Token)
    client = AuthenticatedClient(base_url=url, token=token.token)
    wallets = list_wallets.sync(client=client, limit=1)
    invoices = list_invoices.sync(client=client, limit=100)
    assert isinstance(wallets, WalletPage)
    assert isinstance(invoices, InvoicePage)
    wallet = wallets.data[0]
    invoice = next(
        each for each in invoices.data if each.merchant == "Bookshop" and each.status == InvoiceStatus.OPEN
    )

    body = StartPaymentBody(invoice_id=invoice.id, wallet_id=wallet.id)
    started = start_payment.sync(client=client, body=body, idempotency_key=f"{invoice.id}-1")
    assert isinstance(started, Payment)
    assert started.status == PaymentStatus.REQUIRES_CONFIRMATION
    refused = confirm_payment.sync(started.id, client=client, body=ConfirmBody(code="not the code"))
    assert isinstance(refused, Problem)
    assert (refused.code, refused.attempts_remaining) == ("confirmation_invalid", 4)
    confirmed = confirm_payment.sync_detailed(
        started.id, client=client, body=ConfirmBody(code=code_of(open_client, started.id)), wait=10.0
    )
    assert confirmed.headers["X-Request-Id"]
    paid = confirmed.parsed
    assert isinstance(paid, Payment)
    assert paid.status == PaymentStatus.SUCCEEDED
    assert paid.paid_at is not None

    left = get_wallet.sync(wallet.id, client=client)
    assert isinstance(left, Wallet)
    assert left.balance == wallet.balance - invoice.amount
    sys.stdout.write(f"{paid.id} {paid.status.value}\n")


def code_of(client: Client, payment_id: str) -> str:
    """Wait for the code of a payment in the mock inbox."""
    give_up_at = time.monotonic() + CODE_S_MAX
    while time.monotonic() < give_up_at:
        inbox = mock_inbox.sync(USER, client=client)
        assert isinstance(inbox, Inbox)
        for message in inbox.data:
            if message.payment_id == payment_id and isinstance(message.code, str):
                return message.code
        time.sleep(0.05)
    raise TimeoutError(f"no code within {CODE_S_MAX} s")


if __name__ == "__main__":
    purchase(sys.argv[1])
