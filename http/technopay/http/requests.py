"""Reads headers, queries and bodies, strictly and within limits. Every error names its field and rule."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from technopay.engine import FieldError, ValidationFailed
from technopay.engine.fields import key_error
from technopay.http.problems import BodyTooLarge, MalformedRequest, UnsupportedMediaType

BODY_LENGTH_MAX = 16 * 1024
DEPTH_MAX = 32
DIGITS_MAX = 20
CONTENT_TYPE_LENGTH_MAX = 128
PARAMETERS_MAX = 32
MEMBERS_MAX = 64
"""Of one object."""
ERRORS_SHOWN_MAX = 16
TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
"""Of JSON; a text can lack its end."""
QUALITY = re.compile(r"[01](\.[0-9]{0,3})?")
"""Of a media type in `Accept`."""
NAME_SHOWN_MAX = 64
"""Of the name of a member or parameter, in characters."""

RULES = {
    "value_error": "{error}",
    "extra_forbidden": "is not known here",
    "missing": "is missing",
    "model_type": "has to be an object",
    "string_type": "has to be a text",
    "string_too_long": "has to have at most {max_length} characters",
    "list_type": "has to be a list",
    "bool_type": "has to be true or false",
    "bool_parsing": "has to be true or false",
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
    "literal_error": "has to be {expected}",
}
"""Messages by the type of pydantic's error; pydantic's own name Python's types and regular expressions."""


class Form(BaseModel):
    """The base of all bodies and queries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def is_optional(cls) -> bool:
        return not any(field.is_required() for field in cls.model_fields.values())


Address = IPv4Address | IPv6Address
FormT = TypeVar("FormT", bound=Form)


def read_key(request: web.Request) -> str | None:
    """Return the Idempotency-Key, without quotes around it, or raise MalformedRequest."""
    given = request.headers.getall("Idempotency-Key", [])
    if not given:
        return None
    key = given[0]
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(given) > 1 or key_error(key):
        raise MalformedRequest("Idempotency-Key must be one header of 1 to 255 printable characters.")
    return key


async def read_body(
    request: web.Request, form: type[FormT], within_s: float, length_max: int = BODY_LENGTH_MAX
) -> FormT:
    """Read a JSON body into a form, or raise BodyTooLarge, UnsupportedMediaType or what `parse` raises."""
    raw = await _read_bytes(request, within_s, length_max)
    if not raw and form.is_optional():
        return form()
    if request.headers.get("Content-Type") != "application/json":
        _require_json(request)
    if not raw:
        raise MalformedRequest("The body is empty.")
    return parse(raw, form)


def parse(raw: bytes, form: type[FormT]) -> FormT:
    """Fill a form with JSON, or raise MalformedRequest or ValidationFailed."""
    require_plain_json(raw)
    try:
        return form.model_validate_json(raw, strict=True)
    except ValidationError as error:
        if any(problem["type"] == "json_invalid" for problem in error.errors(include_url=False)):
            raise MalformedRequest("The body is not JSON.") from None
        raise ValidationFailed(field_errors(error)) from None


def read_query(request: web.Request, form: type[FormT]) -> FormT:
    """Read the query into a form, or raise ValidationFailed, also for a repeated parameter."""
    if request.rel_url.raw_query_string.count("&") >= PARAMETERS_MAX:
        raise ValidationFailed([FieldError("query", f"has to have at most {PARAMETERS_MAX} parameters")])
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            raise ValidationFailed([FieldError(name[:NAME_SHOWN_MAX], "has to be given once")])
        values[name] = value
    return fill(form, values)


def fill(form: type[FormT], values: Mapping[str, str]) -> FormT:
    """Fill a form with texts, or raise ValidationFailed."""
    try:
        return form.model_validate(values)
    except ValidationError as error:
        raise ValidationFailed(field_errors(error)) from None


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return the fields of an error and the rules that they break, within a limit."""
    return [
        FieldError(".".join(str(part)[:NAME_SHOWN_MAX] for part in problem["loc"]) or "body", _rule(problem))
        for problem in error.errors(include_url=False, include_input=False)[:ERRORS_SHOWN_MAX]
    ]


def preferred_media(request: web.Request, offered: Sequence[str]) -> str:
    """Return the media type that the request names with the highest quality; the first offered one if none."""
    named: list[tuple[float, str]] = []
    for each in ",".join(request.headers.getall("Accept", [])).split(","):
        media, *parameters = [part.strip().lower() for part in each.split(";")]
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if media in offered and QUALITY.fullmatch(quality) and float(quality) > 0:
            named.append((float(quality), media))
    return max(named, key=lambda each: each[0], default=(0.0, offered[0]))[1]


def parse_address(text: str) -> Address | None:
    """Return an IP address, in its form of IPv4 if it has one; None for any other text."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def require_plain_json(raw: bytes) -> None:
    """Raise MalformedRequest for JSON that parsers read differently, like duplicate members or huge numbers."""
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX:
        _require_shallow(raw)
    try:
        PLAIN_JSON.decode(raw.decode("utf-8"))
    except MalformedRequest:
        raise
    except ValueError:
        raise MalformedRequest("The body is not JSON.") from None


def _rule(problem: ErrorDetails) -> str:
    """Return the rule that a value breaks; pydantic's message where there is none in RULES."""
    rule = RULES.get(problem["type"])
    return problem["msg"] if rule is None else rule.format(**problem.get("ctx", {}))


def _require_json(request: web.Request) -> None:
    """Refuse any other media type, in any notation; a long header is not parsed, which would take time."""
    if len(request.headers.get("Content-Type", "")) > CONTENT_TYPE_LENGTH_MAX:
        raise UnsupportedMediaType
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise UnsupportedMediaType


async def _read_bytes(request: web.Request, within_s: float, length_max: int) -> bytes:
    if (request.content_length or 0) > length_max:
        raise BodyTooLarge
    # Nothing is unpacked: a few bytes can become any number. Another program's server may unpack: check first.
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not have a Content-Encoding.")
    content = request.content
    try:
        if content.is_eof():
            # Most bodies arrive together with the head.
            raw = content.read_nowait()
        else:
            raw = b""
            async with asyncio.timeout(within_s):
                while len(raw) <= length_max and (piece := await content.readany()):
                    raw += piece
    except TimeoutError:
        raise MalformedRequest(f"The body did not arrive within {within_s:g} s.") from None
    except ConnectionError:
        # This response has no reader, but it is no internal error.
        raise MalformedRequest("The client disconnected before the body was complete.") from None
    except (ValueError, web.RequestPayloadError):
        # For example a chunk without a length.
        raise MalformedRequest("The body cannot be decoded.") from None
    if len(raw) > length_max:
        raise BodyTooLarge
    return raw


def _require_shallow(raw: bytes) -> None:
    depth = 0
    for token in TEXT_OR_BRACKET.findall(raw):
        if token in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise MalformedRequest(f"The body is nested deeper than {DEPTH_MAX}.")
        elif token in b"]}":
            depth -= 1


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        left = found.copy()
        twice = next(name for name, _ in pairs if left.pop(name, found) is found)
        # As JSON, because the name can contain any character.
        raise MalformedRequest(f"The body has the member {json.dumps(twice[:NAME_SHOWN_MAX])} twice.")
    if len(pairs) > MEMBERS_MAX:
        raise ValidationFailed([FieldError("body", f"has to have at most {MEMBERS_MAX} members in an object")])
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"{name} is not JSON.")


def _refuse_long(number: str) -> float:
    if sum(character.isdigit() for character in number) > DIGITS_MAX:
        raise MalformedRequest(f"A number of the body has more than {DIGITS_MAX} digits.")
    return float(number)


PLAIN_JSON = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates,
    parse_constant=_refuse_constant,
    parse_int=_refuse_long,
    parse_float=_refuse_long,
)
"""Accepts JSON that all parsers read alike."""
