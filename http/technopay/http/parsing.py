"""Reads bodies and queries, strictly and within bounds. Everything refused is refused by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from technopay.engine import FieldError, ValidationFailed
from technopay.engine.fields import key_error
from technopay.http.problems import BodyTooLarge, MalformedRequest, UnsupportedMediaType
from technopay.http.words import rule_in_words

BODY_LENGTH_MAX = 16 * 1024
DEPTH_MAX = 32
DIGITS_MAX = 20
CONTENT_TYPE_LENGTH_MAX = 128
PARAMETERS_MAX = 32
MEMBERS_MAX = 64
"""Of one object."""
ERRORS_SHOWN_MAX = 16
NAME_SHOWN_MAX = 64
"""Of the name of a member or parameter, in characters."""

Form = TypeVar("Form", bound=BaseModel)


def read_key(request: web.Request) -> str | None:
    """Read the Idempotency-Key; a quoted one is the same as a bare one.

    Raises:
        MalformedRequest: it is there and not of the right form.

    """
    given = request.headers.getall("Idempotency-Key", [])
    if not given:
        return None
    key = given[0]
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(given) > 1 or key_error(key):
        raise MalformedRequest("Idempotency-Key has to be one header of 1 to 255 printable characters.")
    return key


async def read_body(request: web.Request, form: type[Form], within_s: float) -> Form:
    """Read a JSON body into a form.

    Raises:
        BodyTooLarge, UnsupportedMediaType, MalformedRequest, ValidationFailed.

    """
    raw = await _read_bytes(request, within_s)
    # A form without fields can be left out altogether.
    if not raw and not form.model_fields:
        return form()
    if request.headers.get("Content-Type") != "application/json":
        _require_json(request)
    if not raw:
        raise MalformedRequest("The body is empty.")
    return parse(raw, form)


def parse(raw: bytes, form: type[Form]) -> Form:
    """Fill a form from JSON.

    Raises:
        MalformedRequest, ValidationFailed.

    """
    require_plain_json(raw)
    try:
        return form.model_validate_json(raw, strict=True)
    except ValidationError as error:
        if any(problem["type"] == "json_invalid" for problem in error.errors(include_url=False)):
            raise MalformedRequest("The body is not JSON.") from None
        raise ValidationFailed(field_errors(error)) from None


def read_query(request: web.Request, form: type[Form]) -> Form:
    """Read the query parameters into a form; one that is unknown or given twice is refused.

    Raises:
        ValidationFailed.

    """
    if request.rel_url.raw_query_string.count("&") >= PARAMETERS_MAX:
        raise ValidationFailed([FieldError("query", f"has to have at most {PARAMETERS_MAX} parameters")])
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            raise ValidationFailed([FieldError(name[:NAME_SHOWN_MAX], "has to be given once")])
        values[name] = value
    return fill(form, values)


def fill(form: type[Form], values: Mapping[str, str]) -> Form:
    """Fill a form from texts.

    Raises:
        ValidationFailed.

    """
    try:
        return form.model_validate(values)
    except ValidationError as error:
        raise ValidationFailed(field_errors(error)) from None


def field_errors(error: ValidationError) -> list[FieldError]:
    """Name the fields that pydantic refused, and the rules; not more of them than anybody reads."""
    return [
        FieldError(
            ".".join(str(part)[:NAME_SHOWN_MAX] for part in problem["loc"]) or "body", rule_in_words(problem)
        )
        for problem in error.errors(include_url=False, include_input=False)[:ERRORS_SHOWN_MAX]
    ]


def require_plain_json(raw: bytes) -> None:
    """Refuse what readers of JSON disagree about: duplicate members, NaN, huge numbers, great depth.

    Raises:
        MalformedRequest.

    """
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX:
        _require_shallow(raw)
    try:
        PLAIN_JSON.decode(raw.decode("utf-8"))
    except MalformedRequest:
        raise
    except ValueError:
        raise MalformedRequest("The body is not JSON.") from None


def _require_json(request: web.Request) -> None:
    """Refuse what says to be anything else, however it is written; to read a long one would take its time."""
    if len(request.headers.get("Content-Type", "")) > CONTENT_TYPE_LENGTH_MAX:
        raise UnsupportedMediaType
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise UnsupportedMediaType


async def _read_bytes(request: web.Request, within_s: float) -> bytes:
    if (request.content_length or 0) > BODY_LENGTH_MAX:
        raise BodyTooLarge
    # Nothing is unpacked: a few bytes can become any number. Checked before a server of others does it.
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body has to be sent as it is, without a Content-Encoding.")
    content = request.content
    try:
        if content.is_eof():
            # Most bodies came with their heads.
            raw = content.read_nowait()
        else:
            raw = b""
            async with asyncio.timeout(within_s):
                while len(raw) <= BODY_LENGTH_MAX and (piece := await content.readany()):
                    raw += piece
    except TimeoutError:
        raise MalformedRequest(f"The body did not arrive within {within_s:g} s.") from None
    except ConnectionError:
        # Nobody hears this any more, but it is no defect of ours.
        raise MalformedRequest("The client left before the body had arrived.") from None
    except (ValueError, web.RequestPayloadError):
        # A chunk that has no length, for example.
        raise MalformedRequest("The body cannot be decoded.") from None
    if len(raw) > BODY_LENGTH_MAX:
        raise BodyTooLarge
    return raw


def _require_shallow(raw: bytes) -> None:
    depth = 0
    in_text = escaped = False
    for byte in raw:
        if in_text:
            in_text = escaped or byte != 0x22
            escaped = not escaped and byte == 0x5C
        elif byte == 0x22:
            in_text = True
        elif byte in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise MalformedRequest(f"The body is nested deeper than {DEPTH_MAX}.")
        elif byte in b"]}":
            depth -= 1


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        left = found.copy()
        twice = next(name for name, _ in pairs if left.pop(name, found) is found)
        # As JSON, because any character can be in it.
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
"""Reads what all readers of JSON read alike."""
