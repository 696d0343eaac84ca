"""Directories, sockets and secrets of an embedded store: private, or refused in one line with the reason."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from technopay.engine.errors import StoreUnfit
from technopay.storage import EmbeddedValkey, RedisStore
from technopay.storage.private_files import (
    make_private,
    read_private,
    remove_socket,
    socket_path,
    write_private,
)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make another user the owner of a file."""

    def give_it(path: Path) -> None:
        if os.getuid() == 0:
            os.chown(path, 12345, 12345, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12345)

    return give_it


Give = Callable[[Path], None]


def names_in(folder: Path, prefix: str = "") -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(prefix)]


def chmod(folder: Path, mode: int) -> None:
    folder.chmod(mode)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_directory_and_those_above_it_are_ours_alone_with_any_umask(tmp_path: Path, umask: int) -> None:
    assert make_private(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert {mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")} == {0o700}


async def test_all_that_the_server_writes_is_ours_alone(tmp_path: Path, umask: int) -> None:
    async with RedisStore.embedded(tmp_path / "data"):
        written = list((tmp_path / "data").rglob("*"))
        assert {"valkey.sock", "appendonlydir", "valkey.log", "lock"} <= {path.name for path in written}
        shared = [path.name for path in written if mode_of(path) & 0o077 and path.name != "initialised"]
        assert shared == []


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
async def test_a_directory_that_others_can_read_is_tightened(tmp_path: Path, mode: int) -> None:
    chmod(tmp_path, mode)
    async with EmbeddedValkey(tmp_path):
        assert mode_of(tmp_path) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
async def test_a_directory_that_others_can_write_is_refused_as_it_is(tmp_path: Path, mode: int) -> None:
    chmod(tmp_path, mode)
    with pytest.raises(StoreUnfit, match=r"can be written by others; .*chmod go-w"):
        await EmbeddedValkey(tmp_path).start()
    assert mode_of(tmp_path) == mode
    assert names_in(tmp_path) == []


async def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, give_away: Give) -> None:
    give_away(tmp_path)
    with pytest.raises(StoreUnfit, match=r"belongs to user \d+, and this is user \d+"):
        await EmbeddedValkey(tmp_path).start()


def test_a_link_of_ours_is_followed_and_one_of_somebody_else_is_not(tmp_path: Path, give_away: Give) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert make_private(tmp_path / "link") == tmp_path / "real"
    assert make_private(tmp_path / "link" / "new") == tmp_path / "real" / "new"

    give_away(tmp_path / "link")
    with pytest.raises(StoreUnfit, match=r"the link .*/link belongs to another user"):
        make_private(tmp_path / "link" / "newer")
    assert not (tmp_path / "real" / "newer").exists()


@pytest.mark.parametrize(
    ("made", "why"),
    [("file", "Not a directory"), ("loop", "(?i)loop|too many levels")],
)
def test_a_path_that_cannot_be_a_directory_is_named(tmp_path: Path, made: str, why: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreUnfit, match=why):
        make_private(tmp_path / made / "data")


async def test_a_path_too_long_for_a_socket_leaves_nothing_predictable_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / ("ü" * 60)  # 120 bytes
    names = set()
    for _ in range(2):
        async with RedisStore.embedded(folder) as store:
            await store.ping()
            (made,) = names_in(tmp_path, "technopay-")
            assert mode_of(tmp_path / made) == 0o700
            assert store.url == f"unix://{tmp_path / made}/s"
            names.add(made)
            # Another process finds it, too.
            assert await EmbeddedValkey(folder).is_running()
        assert names_in(tmp_path, "technopay-") == []
    assert len(names) == 2


def test_a_socket_that_a_killed_process_left_behind_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    first = socket_path(folder)
    first.touch()
    second = socket_path(folder)

    assert not first.parent.exists()
    assert (folder / "valkey.sock").readlink() == second
    remove_socket(folder / "valkey.sock")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_temporary_directory_whose_path_is_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(StoreUnfit, match="set TMPDIR to a shorter directory"):
        socket_path(folder)
    assert list(folder.iterdir()) == []


def test_a_secret_is_written_once_and_read_by_us_alone(tmp_path: Path, umask: int) -> None:
    for text in ("first", "second"):
        write_private(tmp_path / "secret", text)
    assert read_private(tmp_path / "secret") == "first"
    assert [mode_of(path) for path in tmp_path.iterdir()] == [0o600]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o700])
def test_a_secret_that_is_not_ours_alone_is_refused(tmp_path: Path, mode: int) -> None:
    write_private(tmp_path / "secret", "text")
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(StoreUnfit, match=r"secret (can be written by others|has to be a file with mode 600)"):
        read_private(tmp_path / "secret")


def test_a_secret_of_somebody_else_a_link_and_a_pipe_are_refused(tmp_path: Path, give_away: Give) -> None:
    write_private(tmp_path / "secret", "text")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe"):
        with pytest.raises(StoreUnfit, match=name):
            read_private(tmp_path / name)
    give_away(tmp_path / "secret")
    with pytest.raises(StoreUnfit, match="belongs to user"):
        read_private(tmp_path / "secret")
