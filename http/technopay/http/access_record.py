"""The record of one request, for the access log and the metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from technopay.engine import Invoice, Payment, User, Wallet
from technopay.engine.fields import USER_ID, is_record_id


@dataclass(slots=True)
class RequestRecord:
    """One request; the fields are filled in while it is processed."""

    request_id: str
    started_s: float
    """By the monotonic clock."""
    path: Mapping[str, str]
    """The ids in the path, as they were sent."""
    method: str = "unknown"
    """'unknown' for a method that HTTP does not define: a client can invent any number of them."""
    client: str | None = None
    """The client's address."""
    template: str | None = None
    """The path of the route, with names in place of ids; None for an unknown path.

    An unknown path is never recorded: it can contain anything, like a token or a code.
    """
    mount: str = ""
    """The path under which the application is mounted in another one, or ''."""
    extra_headers: Mapping[str, str] | None = None
    """Headers of the response besides those that every response has."""
    user_id: str = ""
    """The caller; '' without a valid token."""
    payment_model: type[Payment] = Payment
    """How a refusal shows its payment."""
    subject: BaseModel | None = None
    """The record in the response, or the payment of a refusal."""
    status: int = 0
    code: str = ""
    """Of the refusal; '' for a success."""
    took_s: float = 0.0
    is_stream: bool = False
    """A stream lasts as long as its client reads it."""

    def ids(self) -> dict[str, str]:
        """Return the ids of the request by name, without those that no record can have."""
        subject = self.subject
        if isinstance(subject, Payment):
            return {"payment_id": subject.id, "wallet_id": subject.wallet_id, "invoice_id": subject.invoice_id}
        found = {name: value for name, value in self.path.items() if is_record_id(value)}
        if self.user_id and USER_ID.fullmatch(self.path.get("user_id", "")):
            found["user_id"] = self.path["user_id"]
        if isinstance(subject, User | Wallet | Invoice):
            found[f"{type(subject).__name__.lower()}_id"] = subject.id
        return found


RECORD = web.RequestKey("record", RequestRecord)
"""The record of a request, kept in it."""

RequestObserver = Callable[[RequestRecord], None]
"""Called after every response. It must neither block nor raise."""
