"""Directories and files for the user of this process only."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from technopay.engine.errors import StoreUnfit

SOCKET_PATH_BYTES_MAX = 100
"""The length of a unix socket's address that every system allows."""


def make_private(directory: Path) -> Path:
    """Create a private directory, or make one that exists private; return its path without links.

    Raises:
        StoreUnfit: it belongs to another user, others can write to it, or it cannot be created.

    """
    try:
        for each in (directory, *directory.parents):
            if each.is_symlink() and each.lstat().st_uid not in (0, os.geteuid()):
                raise StoreUnfit(f"the directory {directory}: the link {each} belongs to another user")
        real = directory.resolve()
        for each in (*reversed(real.parents), real):
            # With `parents=True` the mode of the parents would depend on the umask.
            if not each.exists():
                each.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (OSError, RuntimeError) as error:
        raise StoreUnfit(f"the directory {directory}: {getattr(error, 'strerror', error)}") from None
    try:
        _require_ours(os.fstat(descriptor), f"the directory {directory}")
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return real


def read_private(file: Path) -> str:
    """Read a private file.

    Raises:
        FileNotFoundError: there is none.
        StoreUnfit: it belongs to another user, or others can read or write it.

    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnfit(f"{file}: {error.strerror}") from None
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as opened:
        status = os.fstat(descriptor)
        _require_ours(status, str(file))
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != 0o600:
            raise StoreUnfit(f"{file} has to be a file with mode 600; remove it if you do not know it")
        return opened.read()


def write_private(file: Path, text: str) -> None:
    """Write a private file atomically, unless it exists."""
    written = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(written)
    finally:
        written.unlink(missing_ok=True)


def socket_path(directory: Path) -> Path:
    """Choose the path of a socket: in its private directory or, if that is too long, behind a link from there.

    Raises:
        StoreUnfit: that path is too long, too.

    """
    path = directory / "valkey.sock"
    remove_socket(path)
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        return path
    elsewhere = Path(tempfile.mkdtemp(prefix="technopay-")) / "s"
    path.symlink_to(elsewhere)
    try:
        require_socket_path(elsewhere)
    except StoreUnfit:
        remove_socket(path)
        raise
    return elsewhere


def require_socket_path(path: Path) -> None:
    """Raise StoreUnfit if a path below the temporary directory is too long for a socket."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise StoreUnfit(f"the path {path} is too long for a socket; set TMPDIR to a shorter directory")


def remove_socket(path: Path) -> None:
    """Remove a socket, and the directory that was created for it."""
    if path.is_symlink():
        with contextlib.suppress(OSError):
            elsewhere = path.readlink()
            elsewhere.unlink(missing_ok=True)
            elsewhere.parent.rmdir()
    path.unlink(missing_ok=True)


def _require_ours(status: os.stat_result, name: str) -> None:
    user = os.geteuid()
    if status.st_uid != user:
        raise StoreUnfit(f"{name} belongs to user {status.st_uid}, and this is user {user}")
    if status.st_mode & 0o022:
        raise StoreUnfit(f"{name} can be written by others; remove that right (chmod go-w) if you trust it")
