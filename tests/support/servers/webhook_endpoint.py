"""A receiver of webhooks, in a process of its own: verifies each request, and writes it to a file, one a line.

`python -m support.servers.webhook_endpoint PORT FILE SECRET…` reads one JSON object a line: the secrets to
verify with, or the status to answer with.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, file: Path, secrets: list[str]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.lock = threading.Lock()
        self.file = file.open("a", encoding="utf-8", buffering=1)
        self.secrets = secrets
        self.status = 200

    def handle_error(self, *_: object) -> None:
        """Print nothing: engines are killed during requests."""

    def verifies(self, body: bytes, headers: dict[str, str]) -> bool:
        for secret in self.secrets:
            try:
                Webhook(secret).verify(body, headers)
            except WebhookVerificationError:
                continue
            return True
        return False


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        is_verified = self.server.verifies(body, headers)
        line = {"id": headers["webhook-id"], "body": body.decode(), "verified": is_verified}
        with self.server.lock:
            self.server.file.write(json.dumps(line) + "\n")
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main() -> None:
    with Receiver(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        print(json.dumps({"port": server.server_port}), flush=True)  # noqa: T201
        for line in sys.stdin:
            for name, value in json.loads(line).items():
                setattr(server, name, value)
            print(json.dumps({"ready": True}), flush=True)  # noqa: T201
        server.shutdown()


if __name__ == "__main__":
    main()
