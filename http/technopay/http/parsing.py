"""Reads bodies and queries, strictly and within bounds. Everything refused is refused by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from technopay.engine import FieldError, ValidationFailed
from technopay.engine.values import key_error
from technopay.http.problems import BodyTooLarge, MalformedRequest, UnsupportedMediaType
from technopay.http.words import rule_in_words

BODY_LENGTH_MAX = 16 * 1024
DEPTH_MAX = 32
DIGITS_MAX = 20
ENCODINGS = ("identity", "gzip", "deflate")
NAME_SHOWN_MAX = 64
"""Of the name of a member, in characters."""

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
    if request.headers.get("Content-Encoding", "identity").lower() not in ENCODINGS:
        raise UnsupportedMediaType("The body has to be plain, or compressed by gzip or deflate.")
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
    query = request.query
    if twice := [name for name in query if len(query.getall(name)) > 1]:
        raise ValidationFailed([FieldError(twice[0], "has to be given once")])
    return fill(form, dict(query))


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
    """Name the fields that pydantic refused, and the rules."""
    return [
        FieldError(".".join(str(part) for part in problem["loc"]) or "body", rule_in_words(problem))
        for problem in error.errors(include_url=False, include_input=False)
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
    """Refuse what says to be anything else, however it is written."""
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise UnsupportedMediaType


async def _read_bytes(request: web.Request, within_s: float) -> bytes:
    # A mounted application's requests come with the bound of the application around it.
    if (request.content_length or 0) > BODY_LENGTH_MAX:
        raise BodyTooLarge
    try:
        if request.content.is_eof():
            # Most bodies came with their heads.
            raw = request.content.read_nowait()
        else:
            async with asyncio.timeout(within_s):
                raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge from None
    except TimeoutError:
        raise MalformedRequest(f"The body did not arrive within {within_s:g} s.") from None
    except ConnectionError:
        # Nobody hears this any more, but it is no defect of ours.
        raise MalformedRequest("The client left before the body had arrived.") from None
    except (ValueError, web.RequestPayloadError):
        # A body that claims a compression it does not have, for example.
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
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        # As JSON, because any character can be in it.
        raise MalformedRequest(f"The body has the member {json.dumps(twice[:NAME_SHOWN_MAX])} twice.")
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
