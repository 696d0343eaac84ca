"""The types of arguments with their rules, each written once.

A function called `…_error` returns the rule that a value breaks, or None.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Annotated, Any, Final, TypeVar, get_origin

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from iso4217 import Currency as IsoCurrency
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from technopay.engine.errors import FieldError, ValidationFailed

Text = TypeVar("Text", str, str | None)

AMOUNT_MAX = 2**53 - 1
"""Scripts count in doubles, which are exact up to here."""

USER_ID = re.compile(
    r"(?:[A-Za-z0-9_~@:|+-][A-Za-z0-9._~@:|+-]{0,127}"
    r"|\.[A-Za-z0-9_~@:|+-][A-Za-z0-9._~@:|+-]{0,126}|\.\.[A-Za-z0-9._~@:|+-]{1,126})"
)
"""Neither '.' nor '..', which have a meaning in paths. Without a lookahead, which pydantic's patterns lack."""
PHONE = re.compile(r"\+[1-9][0-9]{1,14}")
KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
USER_ID_RULE = "has to be 1 to 128 characters of A-Z a-z 0-9 . _ ~ @ : | + -, but neither . nor .."
EMAIL_LENGTH_MAX = 254
METADATA_NAME = re.compile("[A-Za-z0-9_-]{1,40}")
METADATA_MEMBERS_MAX = 20
METADATA_VALUE_LENGTH_MAX = 200
SPECIAL_USE_DOMAIN = re.compile(rf"(?<=[@.])(?:{'|'.join(SPECIAL_USE_DOMAIN_NAMES)})\Z", re.IGNORECASE)
NOT_IN_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Refused in every text: control characters, lone surrogates and bidirectional overrides."""
NEW_LINE = re.compile("[\t\n\u2028\u2029]")
EVENT_ID_RULE = "has to be the id of an event"
NFC_GROWTH_MAX = 4
"""A text is at most this many times shorter in NFC. A longer one is refused without normalising it."""
PAGE_MAX = 100
WAIT_S_MAX = 10.0
RECORD_ID = re.compile(r"(?:wal|inv|pay|msg)_[0-9a-f]{2}[0-9A-Za-z_-]{1,58}")
WALLET_CURSOR, INVOICE_CURSOR, PAYMENT_CURSOR = (
    re.compile(rf"{prefix}_[0-9A-Za-z_-]{{1,60}}") for prefix in ("wal", "inv", "pay")
)
JOURNAL_CURSOR = re.compile(r"[0-9]{1,18}-[0-9]{1,18}(?:\.[0-9a-f]{2})?")
ENTRY_CURSOR = re.compile(r"[0-9]{1,15}")
STATEMENT_CURSOR = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,15})")
"""The cursors of pages: a record, a position in the journal, a number of entries, three such numbers."""
CURSOR_RULE = "has to be the next_cursor of an earlier page"
PARTITION = re.compile("[0-9a-f]{2}")
EVENT_ID = re.compile(r"evt_([0-9a-f]{2})([0-9]{1,18}-[0-9]{1,18})")
MESSAGE_ID = re.compile(r"msg_([0-9a-f]{2})([0-9]{1,18}-[0-9]{1,18})")
"""An event or a message: its partition and its entry of the journal."""


def is_record_id(text: str) -> bool:
    """Whether a text has the form of a record's id."""
    return RECORD_ID.fullmatch(text) is not None


def id_or_unknown(record_id: str) -> str:
    """Return an id of the right form as it is, else one that does not exist."""
    return record_id if is_record_id(record_id) else "unknown"


def user_or_unknown(user_id: str) -> str:
    """Return a valid user id as it is, else one that no user has."""
    return user_id if USER_ID.fullmatch(user_id) else ""


def partition_in(record_id: str) -> int:
    """Return the partition that the id of a record names."""
    return int(record_id[4:6], 16)


def named_partition(text: str) -> int:
    """Return the partition that a text names, which need not be the id of a record; 0 if it names none."""
    return int(text[4:6], 16) if PARTITION.fullmatch(text[4:6]) else 0


@lru_cache(maxsize=1)
def currencies() -> frozenset[str]:
    """Return the codes of ISO 4217 that have a minor unit (metals and test codes have none)."""
    return frozenset(currency.code for currency in IsoCurrency if currency.exponent is not None)


def amount_error(amount: object, *, least: int = 1) -> str | None:
    if type(amount) is not int:  # neither a bool nor a member of an IntEnum
        return "has to be a whole number of minor units"
    if not least <= amount <= AMOUNT_MAX:
        return f"has to be {least} to {AMOUNT_MAX}"
    return None


def change_error(amount: object) -> str | None:
    """Check a signed amount."""
    if type(amount) is not int:
        return "has to be a whole number of minor units"
    if not 1 <= abs(amount) <= AMOUNT_MAX:
        return f"has to be {-AMOUNT_MAX} to {AMOUNT_MAX}, and not 0"
    return None


def currency_error(currency: str) -> str | None:
    return (
        None
        if currency in currencies()
        else "has to be an ISO 4217 code like EUR, of a currency with a minor unit"
    )


def user_id_error(user_id: str) -> str | None:
    return None if USER_ID.fullmatch(user_id) else USER_ID_RULE


def email_error(email: str | None) -> str | None:
    """Check an e-mail address: one mailbox of RFC 5321 or RFC 6531."""
    if email is None:
        return None
    if len(email) > EMAIL_LENGTH_MAX:
        return f"has to be at most {EMAIL_LENGTH_MAX} characters"
    try:
        validate_email(
            # The library refuses some domains by name: replace those by another name of the same length.
            SPECIAL_USE_DOMAIN.sub(lambda domain: "x" * len(domain[0]), email),
            check_deliverability=False,
            globally_deliverable=False,
            allow_quoted_local=True,
            allow_domain_literal=True,
        )
    except EmailNotValidError:
        return "has to be an e-mail address"
    return None if all(map(_is_in_addresses, email)) else "has to be an e-mail address"


def _is_in_addresses(character: str) -> bool:
    """Whether a character can be in an address: '!' to '~', and letters and digits of any script."""
    if character.isascii():
        return "!" <= character <= "~"
    return unicodedata.category(character)[0] in "LMN"


def phone_error(phone: str | None) -> str | None:
    return (
        None if phone is None or PHONE.fullmatch(phone) else "has to be a phone number like +15550100 (E.164)"
    )


def nfc(text: Text) -> Text:
    """Return a text in NFC, the form for storing and comparing; None is a missing text."""
    return text if text is None else unicodedata.normalize("NFC", text)


def is_loopback(host: str) -> bool:
    """Whether a host is reachable from this machine only."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_line(text: str) -> bool:
    """Whether a text, like an address, is one clean line."""
    return not _is_broken(text, lines=False) and text == text.strip()


def _is_broken(text: str, *, lines: bool) -> bool:
    """Whether a text contains refused characters or, without `lines`, the end of a line."""
    if text.isascii() and text.isprintable():
        return False
    return bool(NOT_IN_LINES.search(text) or (not lines and NEW_LINE.search(text)))


def text_error(text: str | None, least: int, most: int, *, lines: bool = False) -> str | None:
    """Check a text, in NFC; None is a missing text. With `lines` it can have several lines."""
    if text is None:
        return None
    if len(text) > most * NFC_GROWTH_MAX or not least <= len(text := nfc(text)) <= most:
        return f"has to be {least} to {most} characters"
    if _is_broken(text, lines=lines):
        return f"has to be {'' if lines else 'one line '}without control characters or bidirectional overrides"
    return None if text == text.strip() else "has to begin and end without white space"


def metadata_error(metadata: Mapping[str, str]) -> str | None:
    if len(metadata) > METADATA_MEMBERS_MAX:
        return f"has to have at most {METADATA_MEMBERS_MAX} members"
    for name, value in metadata.items():
        if not isinstance(name, str) or not METADATA_NAME.fullmatch(name):
            return "has to have names of 1 to 40 characters of A-Z a-z 0-9 _ -"
        if not isinstance(value, str):
            return f"has to have texts as values; {name} has none"
        if error := text_error(value, 0, METADATA_VALUE_LENGTH_MAX):
            return f"has in {name} what {error}"
    return None


def pack_metadata(metadata: Mapping[str, str] | None) -> str:
    """Return metadata as JSON with values in NFC; '' for none."""
    if not metadata:
        return ""
    packed = {name: nfc(value) for name, value in metadata.items()}
    return json.dumps(packed, ensure_ascii=False, separators=(",", ":"))


def code_error(code: str) -> str | None:
    """Check a code. Any form is valid, because a code that does not match costs an attempt."""
    return None if 1 <= len(code) <= 64 else "has to be 1 to 64 characters"


def normalise_code(code: str) -> str:
    """Read a code as people type it: digits of any script, with white space and hyphens."""
    if code.isascii() and code.isdigit():
        return code
    return "".join(
        str(unicodedata.decimal(character, character))
        for character in code
        if not character.isspace() and unicodedata.category(character) != "Pd"
    )


def key_error(key: str | None) -> str | None:
    return None if key is None or KEY.fullmatch(key) else "has to be 1 to 255 printable characters"


def time_error(at: datetime) -> str | None:
    if at.utcoffset() is None:
        return "needs an offset from UTC"
    try:
        at.astimezone(UTC)
    except OverflowError:
        return "has to be in the years 1 to 9999 of UTC"
    return None


def page_error(limit: int) -> str | None:
    return None if 1 <= limit <= PAGE_MAX else f"has to be 1 to {PAGE_MAX}"


def require(errors: Iterable[tuple[str, str | None]]) -> None:
    """Raise ValidationFailed for the fields that have an error."""
    if found := [FieldError(field, error) for field, error in errors if error]:
        raise ValidationFailed(found)


def event_id_error(event_id: str | None) -> str | None:
    """Check the id of an event, which need not exist."""
    return None if event_id is None or EVENT_ID.fullmatch(event_id) else EVENT_ID_RULE


def cursor_error(cursor: str, form: re.Pattern[str]) -> str | None:
    """Check a cursor; an empty one is the first page."""
    return None if not cursor or form.fullmatch(cursor) else CURSOR_RULE


def statement_cursor_error(cursor: str) -> str | None:
    """Check the cursor of a statement: entries before the range, before the page, before the range's end."""
    found = STATEMENT_CURSOR.fullmatch(cursor)
    if not cursor or (found and int(found[1]) < int(found[2]) < int(found[3])):
        return None
    return CURSOR_RULE


def range_error(begin: datetime | None, end: datetime | None) -> str | None:
    """Check the end of a range of times, which it is without."""
    is_empty = begin is not None and end is not None and begin >= end
    return "has to be later than from" if is_empty else None


class Unset(Enum):
    """The type of UNSET."""

    UNSET = "UNSET"


UNSET: Final = Unset.UNSET
"""An argument that is left out, where None has a meaning of its own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule beside the type; `error` returns the error of a value, or None."""

    error: Callable[[Any], str | None]
    schema: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What JSON Schema can say of the rule."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # An amount of another kind is refused by its rule, too: that names the unit.
        kind = object if source is int else get_origin(source) or source

        def validate(value: Any) -> Any:
            if isinstance(value, kind) and (error := self.error(value)):
                raise ValueError(error)
            return value

        return no_info_before_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), **self.schema}


def _wait_error(wait_s: float) -> str | None:
    return None if 0 <= wait_s <= WAIT_S_MAX else f"has to be 0 to {WAIT_S_MAX:g} seconds"


def _amount_rule(least: int) -> Rule:
    return Rule(partial(amount_error, least=least), {"minimum": least, "maximum": AMOUNT_MAX})


def _text_rule(least: int, most: int, *, lines: bool = False) -> Rule:
    schema = {"minLength": least, "maxLength": most} if least else {"maxLength": most}
    return Rule(partial(text_error, least=least, most=most, lines=lines), schema)


UserId = Annotated[str, Rule(user_id_error, {"pattern": f"^{USER_ID.pattern}$"})]
Email = Annotated[str, Rule(email_error, {"maxLength": EMAIL_LENGTH_MAX})]
Phone = Annotated[str, Rule(phone_error, {"pattern": f"^{PHONE.pattern}$"})]
Currency = Annotated[str, Rule(currency_error, {"pattern": "^[A-Z]{3}$"})]
Amount = Annotated[int, _amount_rule(1)]
Change = Annotated[int, Rule(change_error, {"minimum": -AMOUNT_MAX, "maximum": AMOUNT_MAX})]
"""A signed amount."""
LimitAmount = Annotated[int, _amount_rule(0)]
Name = Annotated[str, _text_rule(1, 128)]
Note = Annotated[str, _text_rule(1, 500, lines=True)]
Description = Annotated[str, _text_rule(0, 500, lines=True)]
Metadata = Annotated[
    dict[str, str],
    Rule(
        metadata_error,
        {
            "maxProperties": METADATA_MEMBERS_MAX,
            "propertyNames": {"pattern": f"^{METADATA_NAME.pattern}$"},
            "additionalProperties": {"type": "string", "maxLength": METADATA_VALUE_LENGTH_MAX},
        },
    ),
]
Code = Annotated[str, Rule(code_error, {"minLength": 1, "maxLength": 64})]
Key = Annotated[str, Rule(key_error)] | None
"""An idempotency key, or none."""
Time = Annotated[datetime, Rule(time_error)]
WaitSeconds = Annotated[float, Rule(_wait_error)]
PageLimit = Annotated[int, Rule(page_error)]
WalletCursor = Annotated[str, Rule(partial(cursor_error, form=WALLET_CURSOR))]
InvoiceCursor = Annotated[str, Rule(partial(cursor_error, form=INVOICE_CURSOR))]
PaymentCursor = Annotated[str, Rule(partial(cursor_error, form=PAYMENT_CURSOR))]
JournalCursor = Annotated[str, Rule(partial(cursor_error, form=JOURNAL_CURSOR))]
EntryCursor = Annotated[str, Rule(partial(cursor_error, form=ENTRY_CURSOR))]
StatementCursor = Annotated[str, Rule(statement_cursor_error)]
EventId = Annotated[str, Rule(event_id_error)]
