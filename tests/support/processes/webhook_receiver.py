"""The near end of a process that receives webhooks; it can be killed and started again at the same port."""

import json
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGKILL
from typing import Any

from support.processes.python_process import running_python, send_signal


class WebhookReceiver:
    """Receives webhooks in a process, whose log outlives it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "received"
        self._secrets: list[str] = []
        self._process: Process | None = None
        self._stack = AsyncExitStack()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks"

    async def start(self) -> None:
        """Start, at the port of before."""
        arguments: tuple[str, ...] = ("-m", "support.servers.webhook_endpoint", str(self.port), str(self._file))
        arguments += tuple(self._secrets)
        self._process = await self._stack.enter_async_context(running_python(*arguments))
        self.port = (await self._read())["port"]

    async def trust(self, *secrets: str) -> None:
        """Verify with these secrets."""
        self._secrets = list(secrets)
        await self._tell(secrets=secrets)

    async def answer(self, status: int) -> None:
        """Answer with a status from now on."""
        await self._tell(status=status)

    async def kill(self) -> None:
        assert self._process is not None
        send_signal(self._process, SIGKILL)
        await self._process.wait()
        await self.aclose()

    async def aclose(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    def received(self) -> Sequence[dict[str, Any]]:
        """Return what was received so far, in order; a line that was cut off by a kill is left out."""
        if not self._file.exists():
            return []
        lines = self._file.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("}\n")]

    async def _tell(self, **state: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(state)}\n".encode())
        await self._read()

    async def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the receiver ended"
        answer: dict[str, Any] = json.loads(line)
        return answer
