"""The fixtures of a load test, and servers without them."""

from __future__ import annotations

from typing import Any

import pytest
from support.fixtures.load import NOW, QUICK, fake_server, limit_json

from technopay.cli.load import fixtures as fixtures_module
from technopay.cli.load.acknowledgements import Acknowledgements
from technopay.cli.load.fixtures import CURRENCY, SHOPS, Setup
from technopay.cli.load.plan import LoadError
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.timed_client import TimedClient

USER = {"id": "load-clock", "status": "active", "email": None, "phone": None, "created_at": NOW}
WALLET = {
    "id": "wal_1", "user_id": "load", "currency": CURRENCY, "balance": 0, "status": "active", "created_at": NOW
}  # fmt: skip
NO_LIMITS = {"data": [], "has_more": False, "next_cursor": None}
SOUND: dict[str, list[Any]] = {
    "/mock/token": [(200, {"token": "t"})],
    "/v1/admin/limits": [(200, NO_LIMITS)],
    "/v1/admin/limits/FKP": [(200, limit_json(used=7))],
    "/v1/admin/users": [(201, USER)],
    "/v1/admin/wallets": [(201, WALLET)],
    "/v1/admin/wallets/wal_1/deposit": [(200, WALLET)],
}


def problem(code: str, detail: str) -> dict[str, Any]:
    return {"type": f"urn:technopay:problem:{code}", "code": code, "detail": detail, "request_id": "req_1"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixtures_module, "PATIENCE", QUICK)


async def make(changes: dict[str, list[Any]], made: list[int]) -> Any:
    async with fake_server() as (server, session):
        server.answers = {path: list(answers) for path, answers in (SOUND | changes).items()}
        try:
            timed = TimedClient(session, Recorder(), Acknowledgements())
            return await Setup(session, server.url, timed).make(None, 3, made.append)
        except LoadError:
            # Nothing to block was made.
            assert not any(path.endswith("/block") for path in server.asked)
            raise


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"/mock/token": [(404, {"code": "not_found"})]}, "start it with --demo"),
        ({"/mock/token": [(200, "<html>")]}, "--url is not the address of a technopay server"),
        ({"/v1/admin/limits": [(403, problem("forbidden", "Not for you."))]},
            "the set-up failed: forbidden: Not for you."),
        ({"/v1/admin/limits": [(200, {})]}, "--url is not the address of a technopay server"),
        ({"/v1/admin/users": [(201, USER), (201, USER), (503, problem("overloaded", "Try again."))]},
            "the set-up failed: overloaded: Try again."),
    ],
)  # fmt: skip
async def test_a_server_with_which_there_is_no_load_test_is_refused_in_one_line(
    changes: dict[str, list[Any]], why: str
) -> None:
    with pytest.raises(LoadError) as refused:
        await make(changes, [])

    assert why in str(refused.value)


async def test_one_user_is_poor_and_one_is_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    monkeypatch.setattr("technopay.cli.load.fixtures.secrets.token_hex", lambda _: "run")

    fixtures = await make({"/v1/admin/users/load-run-4/block": [(200, USER)]}, made)

    assert [len(group) for group in (fixtures.users, fixtures.poor, fixtures.blocked)] == [3, 1, 1]
    assert made == [1, 2, 3, 4, 5]
    assert (len({id(next(fixtures.shops)) for _ in range(99)}), fixtures.limit_before.used) == (SHOPS, 7)
    assert fixtures.poor[0].deposited < fixtures.users[0].deposited
    assert fixtures.ahead.total_seconds() != 0
