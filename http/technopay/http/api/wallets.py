"""Wallets."""

from technopay.engine import Engine
from technopay.http.api import statements
from technopay.http.api.fields import CHANGE, DEPOSIT_REFERENCE, ENTRY_NOTE, STATEMENT_RANGE
from technopay.http.api.route import Route
from technopay.http.auth.tokens import ADMIN, PAYMENTS

WALLET_ROUTES = (
    Route("GET", "/v1/wallets", PAYMENTS, Engine.list_wallets),
    Route("GET", "/v1/wallets/{wallet_id}", PAYMENTS, Engine.get_wallet),
    Route("GET", "/v1/wallets/{wallet_id}/entries", PAYMENTS, Engine.list_entries),
    Route(
        "GET", "/v1/wallets/{wallet_id}/statement", PAYMENTS, Engine.get_statement, statements.get_statement,
        fields=STATEMENT_RANGE, also_media=statements.CSV, description=statements.DESCRIPTION,
    ),
    Route("POST", "/v1/admin/wallets", ADMIN, Engine.create_wallet, status=201),
    Route("GET", "/v1/admin/wallets", ADMIN, Engine.search_wallets),
    Route("GET", "/v1/admin/wallets/{wallet_id}", ADMIN, Engine.find_wallet),
    Route("GET", "/v1/admin/wallets/{wallet_id}/entries", ADMIN, Engine.search_entries),
    Route(
        "GET", "/v1/admin/wallets/{wallet_id}/statement", ADMIN, Engine.find_statement,
        statements.find_statement,
        fields=STATEMENT_RANGE, also_media=statements.CSV, description=statements.DESCRIPTION,
    ),
    Route(
        "POST", "/v1/admin/wallets/{wallet_id}/deposit", ADMIN, Engine.deposit,
        description="A `reference` is deposited once in a wallet: the same again changes nothing.",
        fields={"reference": DEPOSIT_REFERENCE, "note": ENTRY_NOTE},
    ),
    Route(
        "POST", "/v1/admin/wallets/{wallet_id}/withdraw", ADMIN, Engine.withdraw, fields={"note": ENTRY_NOTE}
    ),
    Route(
        "POST", "/v1/admin/wallets/{wallet_id}/adjust", ADMIN, Engine.adjust,
        description="The amount is signed: below zero, it is taken out.",
        fields={"amount": CHANGE, "note": ENTRY_NOTE},
    ),
    Route("POST", "/v1/admin/wallets/{wallet_id}/activate", ADMIN, Engine.activate_wallet),
    Route(
        "POST", "/v1/admin/wallets/{wallet_id}/deactivate", ADMIN, Engine.deactivate_wallet,
        description="Payments from the wallet are refused. Deposits and refunds still reach it.",
    ),
)  # fmt: skip
