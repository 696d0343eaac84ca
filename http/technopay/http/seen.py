"""What was seen of a request, for those who watch: who called what, what it was about, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from technopay.engine import Invoice, Payment, User, Wallet
from technopay.engine.fields import USER_ID, is_record_id

if TYPE_CHECKING:
    from technopay.http.routes import Route


@dataclass(slots=True)
class Seen:
    """One request; it is filled in as the request is read and answered."""

    request_id: str
    began_s: float
    """By the monotonic clock."""
    path: Mapping[str, str]
    """The ids in the path, as they were given."""
    route: Route | None = None
    """None where the path is none of ours, or does not take the method."""
    method: str = "unknown"
    """As it was sent; 'unknown' for one that HTTP does not have: anybody can make up any number of them."""
    client: str | None = None
    """The client's address."""
    refused_template: str | None = None
    """The path of the route whose method it was not."""
    more_headers: Mapping[str, str] | None = None
    """What the answer has beside what all answers have."""
    user_id: str = ""
    """Who called; '' if nobody signed in."""
    is_operator: bool = False
    """Whether the route is an operator's: there, payments are shown whole."""
    record: BaseModel | None = None
    """What was answered, or the payment that a refusal is about."""
    status: int = 0
    code: str = ""
    """Of the refusal; '' if there was none."""
    took_s: float = 0.0
    is_stream: bool = False
    """Whether the answer went on for as long as somebody listened."""

    @property
    def template(self) -> str | None:
        """The path of the route, with names in place of ids; None for a path that is none of ours.

        Such a path is kept nowhere: it can hold anything, like a token or a code.
        """
        return self.route.path if self.route else self.refused_template

    def ids(self) -> dict[str, str]:
        """Answer the ids that the request was about, by name; what cannot be an id of ours is left out."""
        record = self.record
        if isinstance(record, Payment):
            return {"payment_id": record.id, "wallet_id": record.wallet_id, "invoice_id": record.invoice_id}
        found = {name: value for name, value in self.path.items() if is_record_id(value)}
        if self.user_id and USER_ID.fullmatch(self.path.get("user_id", "")):
            found["user_id"] = self.path["user_id"]
        if isinstance(record, User | Wallet | Invoice):
            found[f"{type(record).__name__.lower()}_id"] = record.id
        return found


OnRequest = Callable[[Seen], None]
"""Is told of every request when it was answered. It must neither wait nor fail."""
