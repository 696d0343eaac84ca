"""Traces: the SDK of OpenTelemetry, set up from its own variables. It needs technopay[otel]."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from technopay.cli.settings import ConfigurationError
from technopay.engine.tracing import PAYMENT_TRACE

GROUP = "opentelemetry_traces_exporter"
ALIASES = {"otlp": "otlp_proto_http"}


class PaymentTraceIds(RandomIdGenerator):
    """Gives a payment's trace the id that is made of the payment's id, in every process; others are random.

    Samplers by ratio decide by the id of a trace, so all processes keep the same payments.
    """

    def generate_trace_id(self) -> int:
        return PAYMENT_TRACE.get() or super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return False  # a digest is as uniform, but it is not random


@asynccontextmanager
async def running_tracing(exporters: Sequence[str]) -> AsyncIterator[None]:
    """Export the spans of this process until the block ends, then those that are left."""
    # The SDK reads the variables of resource, sampler and batches, each exporter its own.
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "technopay"}))
    provider = TracerProvider(id_generator=PaymentTraceIds(), resource=resource, shutdown_on_exit=False)
    for name in exporters:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        await asyncio.to_thread(provider.shutdown)


def _exporter(name: str) -> SpanExporter:
    """Make an exporter by the name of its entry point, as OpenTelemetry's own tools do."""
    found = list(entry_points(group=GROUP, name=ALIASES.get(name, name)))
    if not found:
        known = ", ".join(sorted({each.name for each in entry_points(group=GROUP)}))
        raise ConfigurationError(f"OTEL_TRACES_EXPORTER: {name} is not installed; there are otlp, {known}")
    exporter: SpanExporter = found[0].load()()
    return exporter
