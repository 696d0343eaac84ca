"""The fixtures of a run: users with full wallets, in a currency of their own, and the code of each payment."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle

import aiohttp

from technopay.cli.load.plan import LoadError
from technopay.cli.load.timed_client import Headers, TimedClient
from technopay.cli.process import for_each
from technopay.engine import Limit, TechnopayError
from technopay.http.client import Client, RetryPolicy, ServerUnreachable, UnexpectedAnswer

CURRENCY = "FKP"
"""The Falkland pound: hardly in use, so that no limit of a currency in use is changed."""

AMOUNT = 100
DEPOSIT = 100_000_000_000
POOR_DEPOSIT = AMOUNT - 1
LIMIT = 1_000_000_000_000_000
"""So high that it counts and never refuses."""

OPEN_FOR_S = 86_400.0
SETUP_CONCURRENCY = 16
SHOPS = 16
PATIENCE = RetryPolicy(retries=9, deadline_s=30.0, timeout_s=30.0, backoff_s=1.0)
"""Of requests that are not measured."""

CODE_WAIT_S = 20.0
INBOX_PAUSE_S_MIN = 0.02
INBOX_PAUSE_S_MAX = 0.5
INBOX_LENGTH_FIRST = 3
DOUBLINGS = 7
INBOX_LENGTH_MAX = 200
"""The messages that an inbox keeps."""


class Inbox:
    """Reads codes while a purchase waits for one."""

    def __init__(self, timed: TimedClient, user_id: str) -> None:
        self._timed = timed
        self._path = f"/mock/inbox/{user_id}"
        self._waiting: dict[str, CodeWaiter] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read_code(self, payment_id: str) -> str | None:
        """Return the code of a payment when it has come, None if it does not come."""
        waiter = self._waiting[payment_id] = CodeWaiter(asyncio.get_running_loop().create_future())
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(CODE_WAIT_S):
                return await waiter.code
        except TimeoutError:
            return None
        finally:
            del self._waiting[payment_id]
            if not self._waiting and self._reading is not None:
                self._reading.cancel()
                self._reading = None

    async def _read(self) -> None:
        """Read for all purchases that wait; a failure fails all of them."""
        try:
            await self._resolve_codes()
        except Exception as error:
            for waiter in self._waiting.values():
                if not waiter.code.done():
                    waiter.code.set_exception(error)
            self._reading = None

    async def _resolve_codes(self) -> None:
        """Read until cancelled: later after reads in vain, further back for a code that is not found yet."""
        pause_s = INBOX_PAUSE_S_MIN
        while True:
            await asyncio.sleep(pause_s)
            missed = max((waiter.missed for waiter in self._waiting.values()), default=0)
            length = min(INBOX_LENGTH_MAX, max(INBOX_LENGTH_FIRST << missed, 2 * len(self._waiting)))
            reply = await self._timed.send("inbox", "GET", f"{self._path}?limit={length}", {})
            found = False
            for message in reply.body.get("data", ()):
                waiter = self._waiting.get(message["payment_id"])
                if waiter is not None and "code" in message and not waiter.code.done():
                    waiter.code.set_result(message["code"])
                    found = True
            for waiter in self._waiting.values():
                waiter.missed = min(waiter.missed + 1, DOUBLINGS)
            pause_s = INBOX_PAUSE_S_MIN if found else min(1.5 * pause_s, INBOX_PAUSE_S_MAX)


@dataclass(slots=True)
class CodeWaiter:
    """A purchase that waits for its code."""

    code: asyncio.Future[str]
    missed: int = 0
    """Reads without this code: more and more messages lie on top of it."""


@dataclass(frozen=True, slots=True)
class VirtualUser:
    user_id: str
    wallet_id: str
    deposited: int
    headers: Headers
    client: Client
    inbox: Inbox


@dataclass(slots=True)
class Fixtures:
    """The users of a run, and the clients for requests to the server."""

    timed: TimedClient
    operator: Client
    limit_before: Limit
    """The daily limit of the currency, as it was set."""
    ahead: timedelta
    """The server's clock less ours."""
    shops: Iterator[Headers]
    """The callers of the next invoices: a server takes only so many requests of one caller."""
    users: list[VirtualUser] = field(default_factory=list)
    poor: list[VirtualUser] = field(default_factory=list)
    blocked: list[VirtualUser] = field(default_factory=list)
    used_when_set: int = 0
    """The use of the limit when it was last set; that may be more than the limit."""

    @property
    def all_users(self) -> Sequence[VirtualUser]:
        return (*self.users, *self.poor, *self.blocked)

    def expires_at(self, in_s: float) -> str:
        """Return a time so far ahead on the server's clock."""
        return (datetime.now(UTC) + self.ahead + timedelta(seconds=in_s)).isoformat()

    async def set_limit(self, amount: int) -> None:
        self.used_when_set = (await self.operator.set_limit(currency=CURRENCY, amount=amount)).used

    async def read_limit(self) -> Limit | None:
        page = await self.operator.list_all_limits(limit=100)
        return next((each for each in page.data if each.currency == CURRENCY), None)


class Setup:
    """Makes the fixtures of one run. Its requests are not part of the figures."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timed: TimedClient) -> None:
        self._session = session
        self._url = url
        self._timed = timed
        self._run_id = f"load-{secrets.token_hex(4)}"

    async def make(self, admin_token: str | None, users: int, on_progress: Callable[[int], None]) -> Fixtures:
        """Make users, wallets and a limit that never refuses.

        Raises LoadError if the server cannot be reached, is no demo, or does not take the token.
        """
        try:
            fixtures = await self._make_shops(admin_token)
            groups = [(fixtures.users, DEPOSIT)] * users
            groups += [(fixtures.poor, POOR_DEPOSIT), (fixtures.blocked, DEPOSIT)]

            async def make(numbered: tuple[int, tuple[list[VirtualUser], int]]) -> None:
                number, (group, deposit) = numbered
                group.append(await self._make_user(fixtures.operator, f"{self._run_id}-{number}", deposit))
                on_progress(len(fixtures.all_users))

            await for_each(enumerate(groups), make, SETUP_CONCURRENCY)
            for user in fixtures.blocked:
                await fixtures.operator.block_user(user_id=user.user_id)
        except (LoadError, TechnopayError) as error:
            raise _as_load_error(error) from None
        return fixtures

    async def _make_shops(self, admin_token: str | None) -> Fixtures:
        operator = self._client(admin_token or await self._token(self._run_id, admin=True))
        await operator.list_all_limits()
        # Only a demo signs shops in: a server that is none has not been changed by now.
        tokens = [await self._token(f"{self._run_id}-shop-{number}", admin=True) for number in range(SHOPS)]
        limit = await operator.set_limit(currency=CURRENCY, amount=LIMIT)
        clock = await operator.create_user(user_id=f"{self._run_id}-clock")
        ahead = clock.created_at - datetime.now(UTC)
        return Fixtures(self._timed, operator, limit, ahead, cycle(map(_bearer, tokens)))

    async def _make_user(self, operator: Client, user_id: str, deposit: int) -> VirtualUser:
        await operator.create_user(user_id=user_id, email=f"{user_id}@example.com")
        wallet = await operator.create_wallet(user_id=user_id, currency=CURRENCY)
        await operator.deposit(wallet_id=wallet.id, amount=deposit)
        token = await self._token(user_id, admin=False)
        inbox = Inbox(self._timed, user_id)
        return VirtualUser(user_id, wallet.id, deposit, _bearer(token), self._client(token), inbox)

    def _client(self, token: str) -> Client:
        return Client(self._url, token, session=self._session, retry_policy=PATIENCE)

    async def _token(self, user_id: str, *, admin: bool) -> str:
        body = {"user_id": user_id, "admin": admin}
        try:
            async with self._session.post("/mock/token", json=body) as response:
                if response.status == 404:
                    raise LoadError("the server has no mock inbox to read codes from: start it with --demo")
                return str((await response.json())["token"])
        except (aiohttp.ClientConnectionError, TimeoutError):
            raise ServerUnreachable from None
        except (aiohttp.ClientError, KeyError, ValueError):
            raise UnexpectedAnswer from None


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def _as_load_error(error: LoadError | TechnopayError) -> LoadError:
    match error:
        case LoadError():
            return error
        case ServerUnreachable():
            return LoadError("the server cannot be reached")
        case UnexpectedAnswer():
            return LoadError("the reply cannot be read: --url is not the address of a technopay server")
    return LoadError(f"the set-up failed: {error.code}: {error}")
