"""The `technopay` command as a process of its own: started, called over HTTP, stopped or killed."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from support.fixtures.engine_setup import SECRET
from support.processes.preforked import warm_process

Seen = TypeVar("Seen")

DEADLINE_S = 30.0
ADDRESS = re.compile(r"(?:serving on|runs at) (http://\S+)")


def eventually(look: Callable[[], Seen], *, within_s: float = DEADLINE_S) -> Seen:
    """Poll until the result is true; return it."""
    give_up_at = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < give_up_at, f"not seen within {within_s} s"
        time.sleep(0.02)
    return seen


def environment(home: Path, settings: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Make an environment with the tests' secret and mocks by name, without other settings of technopay.

    A setting of None is left out.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TECHNOPAY_")}
    kept |= {"HOME": str(home), "XDG_DATA_HOME": str(home / "share"), "COLUMNS": "120"}
    mocks = {"TECHNOPAY_SETTLEMENT": "mock", "TECHNOPAY_EMAIL": "mock", "TECHNOPAY_SMS": "mock"}
    given = {**kept, "TECHNOPAY_SECRET": SECRET, **mocks, **(settings or {})}
    return {name: value for name, value in given.items() if value is not None}


class Service:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output
        self.url = ""

    def wait_for_address(self) -> None:
        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, self.output.read_text()
            return ADDRESS.search(self.output.read_text())

        found = eventually(look)
        assert found
        self.url = found[1]

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Make one call; return status and body, or (0, None) if the connection fails."""
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except (urllib.error.URLError, ConnectionError):
            return 0, None

    def token(self, user: str = "demo-alice", *, admin: bool = False) -> str:
        status, answer = self.ask("POST", "/mock/token", {"user_id": user, "admin": admin})
        assert status == 200
        return str(answer["token"])

    def purchase(
        self, merchant: str = "Bookshop", query: str = "", *, invoice_id: str | None = None
    ) -> tuple[int, Any]:
        """Pay an open invoice of the demo user, as a client does."""
        token = self.token()
        _, wallets = self.ask("GET", "/v1/wallets", token=token)
        if invoice_id is None:
            _, found = self.ask("GET", "/v1/invoices?limit=100", token=token)
            is_wanted = (i["id"] for i in found["data"] if i["merchant"] == merchant and i["status"] == "open")
            invoice_id = next(is_wanted)
        body = {"invoice_id": invoice_id, "wallet_id": wallets["data"][0]["id"]}
        status, payment = self.ask("POST", "/v1/payments", body, token)
        assert status == 201, payment

        def look() -> str | None:
            _, inbox = self.ask("GET", "/mock/inbox/demo-alice")
            codes = (m["code"] for m in inbox["data"] if m["payment_id"] == payment["id"] and "code" in m)
            return next(codes, None)

        return self.ask(
            "POST", f"/v1/payments/{payment['id']}/confirm{query}", {"code": eventually(look)}, token
        )

    def stop(self, name: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(name)
        return self.process.wait(DEADLINE_S)

    def children(self) -> list[int]:
        """Return the child processes: the embedded store, and workers."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


def purchase_under_way(service: Service) -> Callable[[], tuple[int, Any]]:
    """Make a slow purchase until its settlement has begun; return a function that waits for status and body."""
    answers: list[tuple[int, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(service.purchase("acme-slow", "?wait=10")))
    thread.start()

    def has_begun() -> bool:
        _, invoices = service.ask("GET", "/v1/invoices?limit=100", token=service.token())
        return any(invoice["status"] == "processing" for invoice in invoices["data"])

    def wait() -> tuple[int, Any]:
        thread.join(DEADLINE_S)
        return answers[0]

    eventually(has_begun)
    return wait


@contextmanager
def running_command(
    home: Path,
    *arguments: str,
    settings: Mapping[str, str | None] | None = None,
    is_audited: bool = True,
    has_own_group: bool = False,
) -> Iterator[Service]:
    """Run a command that serves, in a directory of its own, and wait for the printed address.

    With a process group of its own it can receive a terminal's signals to all processes. The books of its
    embedded store have to balance at the end, if it still runs then.
    """
    home.mkdir(exist_ok=True)
    output = home / f"output-{time.monotonic_ns()}"
    with output.open("ab") as file:  # two streams append: neither writes over the other
        process = subprocess.Popen(
            [sys.executable, "-m", "technopay.cli", *arguments],
            cwd=home, env=environment(home, settings), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=has_own_group,
        )  # fmt: skip
    try:
        service = Service(process, output)
        service.wait_for_address()
        yield service
        if is_audited and process.poll() is None and (home / "data" / "valkey.sock").exists():
            audit = run_command(home, "audit", "--data-dir", "data", settings=settings)
            assert audit.returncode == 0, audit.stdout + audit.stderr
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_running(pid: int) -> bool:
    """Whether a process lives; one that ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_command(
    home: Path, *arguments: str, settings: Mapping[str, str | None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a child of a warm process: half of its time would be that of imports."""
    if any(name.startswith("PYTHON") for name in settings or {}):
        return subprocess.run(
            [sys.executable, "-m", "technopay.cli", *arguments],
            cwd=home, env=environment(home, settings), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=2 * DEADLINE_S, check=False,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, warm_process() as (start, wait):
        output, errors = Path(folder, "output"), Path(folder, "errors")
        pid = start(
            folder=str(home), environment=environment(home, settings), arguments=arguments,
            output=str(output), errors=str(errors),
        )  # fmt: skip
        alarm = threading.Timer(2 * DEADLINE_S, os.kill, (pid, signal.SIGKILL))
        alarm.start()
        status = wait()
        alarm.cancel()
        return subprocess.CompletedProcess(arguments, status, output.read_text(), errors.read_text())


def assert_one_line(ended: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Check that a command ended with a status and one clear line."""
    assert "Traceback" not in ended.stdout + ended.stderr
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == status, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("technopay: ")
    for word in words:
        assert word in lines[0], lines[0]
