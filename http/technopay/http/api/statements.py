"""Statements of wallets: as JSON, or as CSV to a client that accepts it."""

import csv
import io
from urllib.parse import urlencode

from technopay.engine import Entry, Statement
from technopay.engine.fields import PageLimit, Time
from technopay.engine.record import rfc3339
from technopay.http.api.route import Call
from technopay.http.requests import preferred_media
from technopay.http.responses import JSON, Response, record_response

CSV = "text/csv"
HEADERS = {"Vary": "Accept, Origin"}
"""With the origin, by which all responses differ where pages of other origins are allowed."""
COLUMNS = (
    "at", "kind", "amount", "balance_after", "currency", "payment_id", "refund_id", "reference", "note", "by",
)  # fmt: skip
OPENING, CLOSING = "opening_balance", "closing_balance"
"""The kinds of the first and of the last row."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet takes a cell that begins with one of these as a formula."""

DESCRIPTION = """\
The entries from `from` on and before `to`, oldest first. The opening balance and the amounts of all entries are
together the closing balance. An entry counts at the time of its id in the journal, which is later than `at` if
the clock was behind then. The cursor of a page keeps the range of the first page: entries that come later are
not in it, and `from` and `to` beside a cursor have no effect.

With `Accept: text/csv` it is CSV (RFC 4180, UTF-8, with a header). The first row of the first page has the kind
`opening_balance`, the last row of the last page `closing_balance`; both have no amount, and the balance in
`balance_after`. Amounts are in minor units. A text that a spreadsheet would take as a formula begins with an
apostrophe. The next page is in the header `Link` (`rel="next"`)."""


async def get_statement(
    call: Call, *, user_id: str, wallet_id: str, at_from: Time | None = None, at_to: Time | None = None,
    limit: PageLimit = 20, cursor: str = ""
) -> Response:  # fmt: skip
    statement = await call.engine.get_statement(
        user_id=user_id, wallet_id=wallet_id, at_from=at_from, at_to=at_to, limit=limit, cursor=cursor
    )
    return _response(call, statement, limit, is_first=not cursor)


async def find_statement(
    call: Call, *, wallet_id: str, at_from: Time | None = None, at_to: Time | None = None,
    limit: PageLimit = 20, cursor: str = ""
) -> Response:  # fmt: skip
    statement = await call.engine.find_statement(
        wallet_id=wallet_id, at_from=at_from, at_to=at_to, limit=limit, cursor=cursor
    )
    return _response(call, statement, limit, is_first=not cursor)


def _response(call: Call, statement: Statement, limit: int, *, is_first: bool) -> Response:
    if preferred_media(call.request, (JSON.partition(";")[0], CSV)) != CSV:
        return record_response(statement, Statement, headers=HEADERS)
    headers = dict(HEADERS)
    if statement.next_cursor:
        query = urlencode({"limit": limit, "cursor": statement.next_cursor})
        headers["Link"] = f'<{call.request.rel_url.raw_path}?{query}>; rel="next"'
    text = statement_csv(statement, is_first=is_first)
    return Response(text.encode(), headers=headers, media=f"{CSV}; charset=utf-8; header=present")


def statement_csv(statement: Statement, *, is_first: bool) -> str:
    """Write a page of a statement as CSV; the first and the last page have the balances, too."""
    written = io.StringIO(newline="")
    rows = csv.writer(written)  # RFC 4180 is the default: commas, quotes where they are needed, and CRLF
    rows.writerow(COLUMNS)
    if is_first:
        rows.writerow(_balance_row(OPENING, statement.opening_balance, statement.currency))
    rows.writerows(_entry_row(entry, statement.currency) for entry in statement.data)
    if not statement.has_more:
        rows.writerow(_balance_row(CLOSING, statement.closing_balance, statement.currency))
    return written.getvalue()


def _balance_row(kind: str, balance: int, currency: str) -> list[str | int]:
    return ["", kind, "", balance, currency, "", "", "", "", ""]


def _entry_row(entry: Entry, currency: str) -> list[str | int]:
    texts = (entry.payment_id, entry.refund_id, entry.reference, entry.note, entry.by)
    return [rfc3339(entry.at), entry.kind, entry.amount, entry.balance_after, currency, *map(_as_text, texts)]


def _as_text(text: str | None) -> str:
    """Write a text so that a spreadsheet does not take it as a formula."""
    return f"'{text}" if text and text.startswith(FORMULA_STARTS) else text or ""
