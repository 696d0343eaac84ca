"""A settlement and SMS service to try `serve` with, and a pattern for yours: docs/services.md.

    SERVICE_SECRET=whsec_… python services_stub.py --port 8099 --book book.sqlite

It keeps its book in the file, so it can be killed at any point. As the mock does, it behaves by the ending of
the merchant's name: -declines, -errors, -slow, -timeout, -flaky, -stuck; -lost cuts the connection before the
reply to a settle, -twice sends that reply twice.
"""

import argparse
import asyncio
import json
import os
import sqlite3
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

SLOW_S = 3.0
FLAKY_ERRORS = 2
BOOK: web.AppKey["Book"] = web.AppKey("book")
SIGNER: web.AppKey[Webhook] = web.AppKey("signer", Webhook)
TABLES = """
CREATE TABLE IF NOT EXISTS payments (id TEXT PRIMARY KEY, terms TEXT, state TEXT, amount INTEGER);
CREATE TABLE IF NOT EXISTS refunds (id TEXT PRIMARY KEY, payment TEXT, state TEXT, amount INTEGER);
CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, recipient TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS attempts (payment TEXT);
CREATE TABLE IF NOT EXISTS movements (payment TEXT, refund TEXT, amount INTEGER);
"""
"""`movements` is what the bank did: it has no keys, so it would show a payment that was settled twice."""


class Conflict(Exception):
    """The key is known with other terms."""


class Book:
    """What was decided, under its key; each change is one transaction, and on the disk before the reply."""

    def __init__(self, file: str) -> None:
        self._db = sqlite3.connect(file)
        self._db.executescript(TABLES)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def settle(self, body: dict[str, Any], state: str = "settled") -> str:
        """Settle a payment, or decline it; what was decided stays."""
        known = self.state_of(body)
        if known is None:
            self._decide(body, state)
            return state
        return "settled" if known == "settled" else "declined"

    def status(self, body: dict[str, Any]) -> str:
        """Return the state of a payment."""
        return self.state_of(body) or "not_found"

    def call_off(self, body: dict[str, Any]) -> str:
        """Never settle a payment from now on, also one that is not known."""
        known = self.state_of(body)
        if known in ("settled", "declined"):
            return f"already_{known}"
        if known is None:
            self._decide(body, "called_off")
        return "called_off"

    def reverse(self, body: dict[str, Any]) -> str:
        """Reverse each refund once; decline more than what is left."""
        refund, payment_id = body["refund"], body["payment_id"]
        query = "SELECT state, payment, amount FROM refunds WHERE id = ?"
        if found := self._db.execute(query, (refund["id"],)).fetchone():
            if found[1:] != (payment_id, refund["amount"]):
                raise Conflict
            return str(found[0])
        query = "SELECT SUM(amount) FROM refunds WHERE payment = ? AND state = 'reversed'"
        taken = self._db.execute(query, (payment_id,)).fetchone()[0] or 0
        is_left = self.state_of(body) == "settled" and taken + refund["amount"] <= body["amount"]
        state = "reversed" if is_left else "declined"
        with self._db:
            values = (refund["id"], payment_id, state, refund["amount"])
            self._db.execute("INSERT INTO refunds VALUES (?, ?, ?, ?)", values)
            if is_left:
                moved = (payment_id, refund["id"], -refund["amount"])
                self._db.execute("INSERT INTO movements VALUES (?, ?, ?)", moved)
        return state

    def deliver(self, body: dict[str, Any]) -> str:
        """Send one SMS for each event: here, print it."""
        with self._db:
            values = (body["event_id"], body["to"], body["text"])
            if self._db.execute("INSERT OR IGNORE INTO messages VALUES (?, ?, ?)", values).rowcount:
                print(f"SMS to {body['to']}: {body['text']}", flush=True)
        return "accepted"

    def count_attempt(self, payment_id: str) -> int:
        """Count how often a payment was tried."""
        with self._db:
            self._db.execute("INSERT INTO attempts VALUES (?)", (payment_id,))
        return int(
            self._db.execute("SELECT COUNT(*) FROM attempts WHERE payment = ?", (payment_id,)).fetchone()[0]
        )

    def state_of(self, body: dict[str, Any]) -> str | None:
        """Return the state of a payment, None for an unknown one."""
        query = "SELECT state, terms FROM payments WHERE id = ?"
        found = self._db.execute(query, (body["payment_id"],)).fetchone()
        if found and found[1] != terms_of(body):
            raise Conflict
        return found and str(found[0])

    def _decide(self, body: dict[str, Any], state: str) -> None:
        with self._db:
            values = (body["payment_id"], terms_of(body), state, body["amount"])
            self._db.execute("INSERT INTO payments VALUES (?, ?, ?, ?)", values)
            if state == "settled":
                moved = (body["payment_id"], None, body["amount"])
                self._db.execute("INSERT INTO movements VALUES (?, ?, ?)", moved)


def terms_of(body: dict[str, Any]) -> str:
    """Return what must be the same in every request about a payment."""
    return json.dumps([body["amount"], body["currency"], body["merchant"]])


async def serve(request: web.Request) -> web.StreamResponse:
    """Check signature, operation and key; then decide, and reply with the key and the state."""
    operation, raw = request.match_info["operation"], await request.read()
    try:
        body = request.app[SIGNER].verify(raw, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        raise web.HTTPUnauthorized from None
    key = key_of(operation, body)
    if body["operation"] != operation or request.headers.get("Idempotency-Key") != key:
        raise web.HTTPBadRequest
    book = request.app[BOOK]
    name, _, ending = body.get("merchant", "").rpartition("-")
    ending = ending if name else ""  # "slow" is a name, "shop-slow" has an ending
    if await is_disturbed(request, operation, body, ending):
        raise web.HTTPServiceUnavailable
    try:
        decline = operation == "settle" and ending == "declines"
        state = book.settle(body, "declined") if decline else getattr(book, operation)(body)
    except Conflict:
        raise web.HTTPConflict from None
    reply = json.dumps({"key": key, "state": state}).encode()
    if operation == "settle" and ending == "lost":
        cut(request)
    response = web.Response(body=reply, content_type="application/json")
    if operation == "settle" and ending == "twice":
        await response.prepare(request)
        await response.write_eof()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(reply)}\r\n\r\n"
        if request.transport:
            request.transport.write(head.encode() + reply)
    return response


def key_of(operation: str, body: dict[str, Any]) -> str:
    """Return the key that the signed body names."""
    match operation:
        case "deliver":
            return str(body["event_id"])
        case "reverse":
            return str(body["refund"]["id"])
    return str(body["payment_id"])


async def is_disturbed(request: web.Request, operation: str, body: dict[str, Any], ending: str) -> bool:
    """Be silent or slow as the merchant's name says; return whether to fail."""
    is_about_payment = operation in ("settle", "status", "call_off")
    if (ending == "timeout" and operation == "settle") or (ending == "stuck" and is_about_payment):
        while request.transport:  # until the client leaves
            await asyncio.sleep(0.1)
        return True
    if operation != "settle":
        return False
    if ending == "slow":
        await asyncio.sleep(SLOW_S)
    if ending == "flaky":
        return request.app[BOOK].count_attempt(body["payment_id"]) <= FLAKY_ERRORS
    return ending == "errors"


def cut(request: web.Request) -> None:
    """Lose the reply."""
    if request.transport:
        request.transport.abort()


async def close_book(app: web.Application) -> None:
    """Close the book."""
    app[BOOK].close()


def make_app(secret: str, book: str) -> web.Application:
    """Make the service."""
    app = web.Application(client_max_size=16 * 1024)
    app[SIGNER], app[BOOK] = Webhook(secret), Book(book)
    app.router.add_post("/{operation:settle|status|call_off|reverse|deliver}", serve)
    app.on_cleanup.append(close_book)
    return app


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description="A settlement and SMS service to try technopay with.")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument(
        "--book", default=":memory:", help="a file; by default the book is forgotten at the end"
    )
    arguments = parser.parse_args()
    app = make_app(os.environ["SERVICE_SECRET"], arguments.book)
    print(f"settlement and SMS at http://127.0.0.1:{arguments.port}", flush=True)
    web.run_app(app, host="127.0.0.1", port=arguments.port, print=None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
