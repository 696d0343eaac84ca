"""What the document says first: what somebody who integrates payments wants to know in a minute."""

from __future__ import annotations

ABOUT = """\
Here the invoice of a purchase is paid from its user's wallet, after the user has confirmed it with a code.
Money moves exactly once or not at all.

**A purchase**: `POST /v1/payments` with an invoice and a wallet sends the user a code;
`POST /v1/payments/{payment_id}/confirm` with that code takes the money and waits for the settlement (`?wait=`).
200: it succeeded. 202: look again at `Location`. 402 `settlement_failed`: the money is back in the wallet.

**Sign-in**: `Authorization: Bearer <JWT>`. `sub` is the user; the claim `scope` holds `payments` for what users
do and `admin` for what operators do. With `serve --demo`, `POST /mock/token` gives you one, and codes lie in
`GET /mock/inbox/{user_id}`.

**Values**: amounts are integers in the currency's minor unit (1250 is 12.50 EUR), times are RFC 3339 in UTC,
ids are opaque strings, percent-encoded in paths. Text of any script is accepted and kept in NFC; refused are
control characters, bidirectional overrides, and white space at its ends. Members that a request does not know
are refused; answers may get new members and codes at any time, so ignore those that you do not know.

**Repeats**: every POST but confirm takes an `Idempotency-Key`; a repeat within 72 hours gets the first answer
with `Idempotent-Replayed: true`. For a confirm the payment itself is the record: send it again after a lost
answer.

**Errors** are `application/problem+json` (RFC 9457). Switch on `code`, never on `detail`; with
`retryable: true` the same request can be sent again, after `Retry-After` where it is given.
503: nothing happened. 504 `outcome_unknown`: ask again with the same id or key. Every route names its codes;
any address can also answer 404 `not_found`, and 405 `method_not_allowed` with `Allow`. The `request_id` of a
problem is what to tell us.

**Lists** are newest first: `{data, has_more, next_cursor}`, by `?limit=` (1 to 100) and `?cursor=`.
"""

TAGS = {
    "payments": "What a signed-in user does; needs the scope `payments`.",
    "admin": "What an operator does; needs the scope `admin`.",
    "open": "Health, metrics and documentation; needs no sign-in.",
    "demo": "The mock services; they are there with `serve --demo` only, and need no sign-in.",
}
"""The parts of the document."""
