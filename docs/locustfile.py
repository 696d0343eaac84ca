"""Load test for Locust: users who pay, mistype a code, confirm twice, and look at their lists.

    pip install locust
    python3 run.py demo                                                # in one terminal
    locust -f docs/locustfile.py --host http://127.0.0.1:8080          # in another

The server has to run with `--demo`, as tokens and codes come from its mocks. Each Locust user is a user of
its own with a wallet of its own, in CHF, for which the demo has no limit (its EUR are limited to 300.00 a
day), and pays invoices that are made for it. An answer that is not what it has to be is a failure, also where
its status is right. In the end the server's own audit is asked whether money moved as it has to; where it did
not, or does not tell, Locust ends with 1.

Locust counts a request from when it left. `technopay load` counts from when it should have left, and compares
what it was told with what the server says in the end.
"""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from locust import HttpUser, between, events, task
from locust.env import Environment
from locust.exception import RescheduleTask
from locust.runners import WorkerRunner

CURRENCY = "CHF"
BALANCE = 1_000_000_000
AMOUNT = 12_50
CODE_WAIT_S = 5.0
POLL_S = 0.02
RETRY_S = 1.0


class Shopper(HttpUser):
    """Somebody with a full wallet."""

    wait_time = between(0.05, 0.2)

    def on_start(self) -> None:
        """Become known, however often it takes."""
        while not self._becomes_known():
            time.sleep(RETRY_S)

    def _becomes_known(self) -> bool:
        """Make a user with a wallet and money in it; answer whether that went well."""
        self.user_id = f"locust-{uuid.uuid4().hex[:16]}"
        try:
            self.admin = self._token("locust-operator", admin=True)
            self.own = self._token(self.user_id, admin=False)
            self._operate("users", {"id": self.user_id, "email": f"{self.user_id}@example.com"})
            self.wallet_id = self._operate("wallets", {"user_id": self.user_id, "currency": CURRENCY})["id"]
            path, name = f"/v1/admin/wallets/{self.wallet_id}/deposit", "/v1/admin/wallets/{id}/deposit"
            self._call("POST", path, 200, self.admin, {"amount": BALANCE}, name=name)
        except RescheduleTask:
            return False
        return True

    @task(10)
    def pay(self) -> None:
        """Make a purchase that goes well."""
        payment_id, code = self._start()
        self._confirm(payment_id, code)

    @task(2)
    def pay_on_the_second_try(self) -> None:
        """Give a wrong code first: it costs an attempt, and nothing else."""
        payment_id, code = self._start()
        wrong = f"{(int(code) + 1) % 1_000_000:06d}"

        def costs_an_attempt(problem: dict[str, Any]) -> bool:
            return problem["code"] == "confirmation_invalid" and problem["attempts_remaining"] == 4

        path, name = f"/v1/payments/{payment_id}/confirm", "/v1/payments/{id}/confirm (wrong code)"
        self._call("POST", path, 422, self.own, {"code": wrong}, name=name, is_right=costs_an_attempt)
        self._confirm(payment_id, code)

    @task(2)
    def confirm_twice(self) -> None:
        """Confirm again, as after a lost answer: the same payment, and money moves once."""
        payment_id, code = self._start()
        first = self._confirm(payment_id, code)

        def is_the_same(payment: dict[str, Any]) -> bool:
            return all(
                payment[each] == first[each] for each in ("id", "paid_at", "balance_before", "balance_after")
            )

        path, name = f"/v1/payments/{payment_id}/confirm", "/v1/payments/{id}/confirm (again)"
        self._call("POST", path, 200, self.own, {"code": code}, name=name, is_right=is_the_same)

    @task(3)
    def look(self) -> None:
        """Read the lists, as an app does when it is opened."""
        for path in ("/v1/wallets", "/v1/invoices", "/v1/payments"):
            self._call("GET", path, 200, self.own)
        path, name = f"/v1/wallets/{self.wallet_id}/entries", "/v1/wallets/{id}/entries"
        self._call("GET", path, 200, self.own, name=name)

    def _start(self) -> tuple[str, str]:
        """Start a payment of a new invoice; answer its id and the code that came."""
        invoice = {
            "user_id": self.user_id,
            "amount": AMOUNT,
            "currency": CURRENCY,
            "merchant": "Bookshop",
            "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        }
        body = {"invoice_id": self._operate("invoices", invoice)["id"], "wallet_id": self.wallet_id}

        def waits_for_a_code(payment: dict[str, Any]) -> bool:
            return payment["status"] == "requires_confirmation" and payment["amount"] == AMOUNT

        payment = self._call("POST", "/v1/payments", 201, self.own, body, is_right=waits_for_a_code)
        return payment["id"], self._read_code(payment["id"])

    def _read_code(self, payment_id: str) -> str:
        """Read the code from the mock inbox, where it arrives a moment later."""
        until = time.monotonic() + CODE_WAIT_S
        while True:
            with self.client.get(
                f"/mock/inbox/{self.user_id}", name="/mock/inbox/{user}", catch_response=True
            ) as answer:
                messages = answer.json()["data"] if answer.status_code == 200 else []
                for message in messages:
                    if message["payment_id"] == payment_id and "code" in message:
                        return str(message["code"])
                if answer.status_code != 200 or time.monotonic() > until:
                    answer.failure(f"{answer.status_code}, and no code after {CODE_WAIT_S:g} s")
                    raise RescheduleTask
            time.sleep(POLL_S)

    def _confirm(self, payment_id: str, code: str) -> dict[str, Any]:
        """Confirm; the answer has to be a payment that succeeded, with the amount gone from the wallet."""

        def is_paid(payment: dict[str, Any]) -> bool:
            taken = payment["balance_before"] - payment["balance_after"]
            return payment["id"] == payment_id and payment["status"] == "succeeded" and taken == AMOUNT

        path, name = f"/v1/payments/{payment_id}/confirm", "/v1/payments/{id}/confirm"
        return self._call("POST", path, 200, self.own, {"code": code}, name=name, is_right=is_paid)

    def _operate(self, records: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", f"/v1/admin/{records}", 201, self.admin, body)

    def _token(self, user_id: str, *, admin: bool) -> str:
        answer = self._call("POST", "/mock/token", 200, None, {"user_id": user_id, "admin": admin})
        return str(answer["token"])

    def _call(
        self,
        method: str,
        path: str,
        status: int,
        token: str | None,
        body: dict[str, Any] | None = None,
        *,
        name: str | None = None,
        is_right: Callable[[dict[str, Any]], bool] = bool,
    ) -> dict[str, Any]:
        """Send a request, and mark it as failed where the answer is not what it has to be."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with self.client.request(
            method, path, name=name or path, json=body, headers=headers, catch_response=True
        ) as answer:
            try:
                found: dict[str, Any] = answer.json()
            except requests.JSONDecodeError:
                found = {}
            if answer.status_code != status:
                answer.failure(f"{answer.status_code or 'no answer'} {found.get('code', '')}".rstrip())
            elif not is_right(found):
                answer.failure(f"{answer.status_code}, but not as it has to be: {found}")
            else:
                answer.success()
                return found
            # The task ends here; what is to blame is marked.
            raise RescheduleTask


@events.test_stop.add_listener
def ask_for_the_audit(environment: Environment, **_: object) -> None:
    """Ask the server whether money moved as it has to; once, where several machines make load."""
    if isinstance(environment.runner, WorkerRunner):
        return
    body = {"user_id": "locust-operator", "admin": True}
    try:
        signed = requests.post(f"{environment.host}/mock/token", json=body, timeout=10)
        signed.raise_for_status()
        headers = {"Authorization": f"Bearer {signed.json()['token']}"}
        audited = requests.get(f"{environment.host}/v1/admin/audit", headers=headers, timeout=300)
        audited.raise_for_status()
    except requests.RequestException as fault:
        print("audit: not known:", fault)
        environment.process_exit_code = 1
        return
    audit = audited.json()
    print("audit:", "clean" if audit["clean"] else f"BROKEN {audit['differences']}", audit["checked"])
    if not audit["clean"]:
        environment.process_exit_code = 1
