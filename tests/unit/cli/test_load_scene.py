"""What a load test takes place with, and servers with which there is none."""

from __future__ import annotations

from typing import Any

import pytest
from support.load import fake_server, limit_json

from technopay.cli.load.errors import LoadError
from technopay.cli.load.journal import Journal
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.scene import SHOPS, make_scene

USER = {"id": "load-clock", "created_at": "2026-11-23T12:00:00.000Z"}
WALLET = {"id": "wal_1", "balance": 0}
SOUND: dict[str, list[Any]] = {
    "/mock/token": [(200, {"token": "t"})],
    "/v1/admin/limits": [(200, {"data": []})],
    "/v1/admin/limits/FKP": [(200, limit_json(used=7))],
    "/v1/admin/users": [(201, USER)],
    "/v1/admin/wallets": [(201, WALLET)],
    "/v1/admin/wallets/wal_1/deposit": [(200, WALLET)],
}


async def make(changes: dict[str, list[Any]], made: list[int]) -> Any:
    async with fake_server() as (server, session):
        server.answers = {path: list(answers) for path, answers in (SOUND | changes).items()}
        try:
            return await make_scene(session, Recorder(), Journal(), None, 3, made.append)
        except LoadError:
            # Whom there is nobody to block, nobody was asked to.
            assert not any(path.endswith("/block") for path in server.asked)
            raise


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"/mock/token": [(404, {"code": "not_found"})]}, "start it with --demo"),
        ({"/mock/token": [(200, "<html>")]}, "--url is not a technopay server's"),
        ({"/v1/admin/limits": [(403, {"code": "forbidden", "detail": "Not for you."})]},
            "GET /v1/admin/limits was answered 403 forbidden: Not for you."),
        ({"/v1/admin/users": [(201, USER), (201, USER), (503, {"code": "overloaded"})]},
            "POST /v1/admin/users was answered 503 overloaded: no reason given"),
    ],
)  # fmt: skip
async def test_a_server_with_which_there_is_no_load_test_is_refused_in_one_line(
    changes: dict[str, list[Any]], why: str
) -> None:
    with pytest.raises(LoadError) as refused:
        await make(changes, [])

    assert why in str(refused.value)


async def test_users_are_made_with_one_who_is_poor_and_one_who_is_not_to_buy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    monkeypatch.setattr("technopay.cli.load.scene.secrets.token_hex", lambda _: "run")

    scene = await make({"/v1/admin/users/load-run-4/block": [(200, USER)]}, made)

    assert [len(group) for group in (scene.shoppers, scene.poor, scene.blocked)] == [3, 1, 1]
    assert made == [1, 2, 3, 4, 5]
    assert (len(scene.shops), scene.limit_before["used"]) == (SHOPS, 7)
    assert scene.poor[0].deposited < scene.shoppers[0].deposited
    assert scene.ahead.total_seconds() != 0
