"""Spans of OpenTelemetry for requests, commands, scripts, settlements and messages.

A request is in the trace of its caller. Work that no caller waits for is in the trace of its payment, in every
process: the id of that trace is made of the payment's id. Spans have ids of payments, wallets and invoices, but
nothing of users, and no text of errors.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from technopay.engine.errors import TechnopayError

try:
    from opentelemetry import context, propagate, trace
except ImportError:  # technopay[otel] is not installed
    trace = None  # type: ignore[assignment]

NO_SPAN = nullcontext()
"""In the place of a span while there are no traces."""
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

    @contextmanager
    def command(self, command: object) -> Iterator["trace.Span"]:
        """Make a span for a command from its mailbox to its outcome, with a link to its payment's trace."""
        attributes = {name: value for name in IDS if (value := getattr(command, name, None))}
        links = []
        if payment_id := attributes.get("payment_id"):
            trace_id = payment_trace_id(payment_id)
            flags = trace.get_current_span().get_span_context().trace_flags
            links.append(
                trace.Link(trace.SpanContext(trace_id, trace_id >> 64 or 1, is_remote=True, trace_flags=flags))
            )
        named = {f"technopay.{name}": value for name, value in attributes.items()}
        with _ending(self._tracer.start_span(type(command).__name__, attributes=named, links=links)) as span:
            yield span

    def script(self, name: str, on_reply: Callable[..., None]) -> Callable[..., None]:
        """Make a span for a script that is sent now, inside another one; return the callback that ends it."""
        if not trace.get_current_span().is_recording():
            return on_reply
        span = self._tracer.start_span(name, kind=trace.SpanKind.CLIENT)

        def end(binding: Any, reply: Any) -> None:
            if isinstance(reply, Exception):
                fail(span, _reason(reply))
            else:
                span.set_attribute("technopay.code", str(reply[0]))
            span.end()
            on_reply(binding, reply)

        return end

    @contextmanager
    def payment(self, name: str, payment_id: str, **attributes: str) -> Iterator["trace.Span"]:
        """Make a span for work about a payment that no caller waits for, in the trace of the payment."""
        begun = PAYMENT_TRACE.set(payment_trace_id(payment_id))
        named = {f"technopay.{each}": value for each, value in {"payment_id": payment_id, **attributes}.items()}
        try:
            span = self._tracer.start_span(name, context.Context(), attributes=named)
        finally:
            PAYMENT_TRACE.reset(begun)
        with _ending(span):
            yield span

    @contextmanager
    def call(self, name: str) -> Iterator["trace.Span"]:
        """Make a span for a call of a service."""
        with _ending(self._tracer.start_span(name, kind=trace.SpanKind.CLIENT)) as span:
            yield span


@contextmanager
def _ending(span: "trace.Span") -> Iterator["trace.Span"]:
    """Make a span the current one until the block ends. Of an error, only the type or code is recorded."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception as error:
            fail(span, _reason(error))
            raise


def _reason(error: Exception) -> str:
    # The code of another program's error can be any text.
    return error.code if isinstance(error, TechnopayError) else type(error).__name__


def fail(span: "trace.Span", reason: str) -> None:
    """Mark a span as failed."""
    span.set_attribute("error.type", reason)
    span.set_status(trace.StatusCode.ERROR)
