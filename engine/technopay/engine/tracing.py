"""Spans of OpenTelemetry for requests, commands, scripts, settlements and messages.

A request is in the trace of its caller. Work that no caller waits for is in the trace of its payment, in every
process: the id of that trace is made of the payment's id. Spans have ids of payments, wallets and invoices, but
nothing of users, and no text of errors.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from technopay.engine.errors import TechnopayError

try:
    from opentelemetry import context, propagate, trace
except ImportError:  # technopay[otel] is not installed
    trace = None  # type: ignore[assignment]

Result = TypeVar("Result")

PAYMENT_TRACE: ContextVar[int] = ContextVar("payment_trace", default=0)
"""The id of the trace that begins now: an id generator of the SDK takes it, see technopay.cli.tracing."""
IDS = ("payment_id", "wallet_id", "invoice_id")


def payment_trace_id(payment_id: str) -> int:
    """Return the id of a payment's trace: the first 16 bytes of the SHA-256 of the payment's id."""
    return int.from_bytes(hashlib.sha256(payment_id.encode()).digest()[:16])


def active() -> "Tracing | None":
    """Return what makes spans with the provider that the program has configured by now; None without one."""
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return Tracing(provider.get_tracer("technopay"))


class Tracing:
    """Makes the spans of one part of the program."""

    def __init__(self, tracer: "trace.Tracer") -> None:
        self._tracer = tracer

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator["trace.Span"]:
        """Make a span for a request, in the trace of the program around it, or of the caller in the headers."""
        is_inside = trace.get_current_span().get_span_context().is_valid
        parent = None if is_inside else propagate.extract(headers)
        with _ending(self._tracer.start_span("request", parent, trace.SpanKind.SERVER)) as span:
            yield span

    def command(self, command: object, reply: asyncio.Future[Any]) -> Context:
        """Make a span for a command from its mailbox to its outcome, with a link to its payment's trace.

        Returns the context in which to send it.
        """
        ids = {name: value for name in IDS if (value := getattr(command, name, None))}
        links = []
        if payment_id := ids.get("payment_id"):
            trace_id = payment_trace_id(payment_id)
            flags = trace.get_current_span().get_span_context().trace_flags
            target = trace.SpanContext(trace_id, trace_id >> 64 or 1, is_remote=True, trace_flags=flags)
            links.append(trace.Link(target))
        span = self._tracer.start_span(type(command).__name__, attributes=_named(ids), links=links)

        def end(reply: asyncio.Future[Any]) -> None:
            if not reply.cancelled():
                _note(span, reply.exception() or reply.result().code)
            span.end()

        reply.add_done_callback(end)
        sending = copy_context()
        sending.run(context.attach, trace.set_span_in_context(span))
        return sending

    def script(self, name: str, on_reply: Callable[..., None]) -> Callable[..., None]:
        """Make a span for a script that is sent now, inside another one; return the callback that ends it."""
        if not trace.get_current_span().is_recording():
            return on_reply
        span = self._tracer.start_span(name, kind=trace.SpanKind.CLIENT)

        def end(binding: Any, reply: Any) -> None:
            _note(span, reply if isinstance(reply, Exception) else reply[0])
            span.end()
            on_reply(binding, reply)

        return end

    @contextmanager
    def payment(self, name: str, payment_id: str, **attributes: str) -> Iterator["trace.Span"]:
        """Make a span for work about a payment that no caller waits for, in the trace of the payment."""
        begun = PAYMENT_TRACE.set(payment_trace_id(payment_id))
        named = _named({"payment_id": payment_id, **attributes})
        try:
            span = self._tracer.start_span(name, context.Context(), attributes=named)
        finally:
            PAYMENT_TRACE.reset(begun)
        with _ending(span):
            yield span

    def call(self, request: Callable[..., Awaitable[Result]]) -> Callable[..., Awaitable[Result]]:
        """Return a method of a service with a span around each call."""
        name = getattr(request, "__name__", "call")

        async def traced(*arguments: Any) -> Result:
            with _ending(self._tracer.start_span(name, kind=trace.SpanKind.CLIENT)):
                return await request(*arguments)

        return traced


@contextmanager
def _ending(span: "trace.Span") -> Iterator["trace.Span"]:
    """Make a span the current one until the block ends. Of an error, only the type or code is recorded."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception as error:
            _note(span, error)
            raise


def _named(attributes: Mapping[str, str]) -> dict[str, str]:
    return {f"technopay.{name}": value for name, value in attributes.items()}


def _note(span: "trace.Span", result: BaseException | str) -> None:
    """Note the code of a result, or an error. The code of another program's error could be any text."""
    if isinstance(result, str):
        span.set_attribute("technopay.code", result)
    else:
        fail(span, result.code if isinstance(result, TechnopayError) else type(result).__name__)


def fail(span: "trace.Span", reason: str) -> None:
    """Mark a span as failed."""
    span.set_attribute("error.type", reason)
    span.set_status(trace.StatusCode.ERROR)
