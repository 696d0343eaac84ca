"""A bank and a mail service outside of technopay: a small HTTP server that records its requests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "our token at the bank"


class Outside(ThreadingHTTPServer):
    """Settles, reverses and accepts messages; each key has one effect."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and key of each request."""
        self.errors_left = 0
        """The number of POSTs that fail before one works."""
        self.transfers: dict[str, str] = {}
        self.answers: dict[str, dict[str, str]] = {}
        self.mails: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def effect(self, path: str, body: dict[str, Any]) -> dict[str, str]:
        match path.split("/")[1:]:
            case ["messages"]:
                self.mails.append(body)
                return {}
            case ["transfers"]:
                state = "declined" if body["to"] == "Nobody" else "settled"
                return {"state": self.transfers.setdefault(body["id"], state)}
            case ["transfers", payment_id, "reversals"]:
                declined = self.transfers[payment_id] != "settled" or body["amount"] > 9_999
                return {"state": "declined" if declined else "reversed"}
            case ["transfers", payment_id, "call-off"]:
                state = self.transfers.setdefault(payment_id, "called_off")
                return {"state": state if state == "called_off" else f"already_{state}"}
        raise AssertionError(path)


class Handler(BaseHTTPRequestHandler):
    server: Outside
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked.append(("GET", self.path, ""))
            state = self.server.transfers.get(self.path.rpartition("/")[2])
        if self.path.startswith("/transfers/") and state is None:
            self.answer(404, {})
        else:
            self.answer(200, {"state": state or ""})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        if self.path.startswith("/transfers") and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, {})
            return
        with self.server.lock:
            self.server.asked.append(("POST", self.path, key))
            if self.server.errors_left:
                self.server.errors_left -= 1
                status, answer = 500, {}
            else:
                if key not in self.server.answers:
                    self.server.answers[key] = self.server.effect(self.path, body)
                status, answer = 200, self.server.answers[key]
        self.answer(status, answer)

    def answer(self, status: int, body: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def running_outside() -> Iterator[Outside]:
    with Outside() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
