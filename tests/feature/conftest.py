"""The kinds of store of features, and shared fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings
from support.servers.real_servers import running_server

from technopay.engine import Engine, EngineSettings
from technopay.storage import RedisStore

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave one kind of real server out: tests/unit/storage tests every script on all kinds."""

    def is_left_out(item: pytest.Item) -> bool:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        kinds = parameters.get("make_store"), parameters.get("old_store")
        return HERE in item.path.parents and "redis" in kinds

    config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
    items[:] = [item for item in items if not is_left_out(item)]


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


@pytest.fixture
async def alice(engine: Engine, store: RedisStore) -> Setup:
    return await make_setup(engine, store)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The working directory of a command."""
    return tmp_path


@pytest.fixture
def server() -> Iterator[str]:
    """A new durable server."""
    with running_server("valkey") as url:
        yield url
