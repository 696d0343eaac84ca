"""Traces: a request is in its caller's, work that no caller waits for in its payment's; by default none."""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from support.fixtures.engine_setup import SECRET, make_setup, quick_settings, wait_for
from support.fixtures.http_api import inbox, make_person, right_code, running_api
from support.processes.service import assert_one_line, eventually, run_command, running_command

from technopay.cli import service as module
from technopay.cli.settings import trace_exporters
from technopay.cli.tracing import PaymentTraceIds
from technopay.engine import ConfirmationInvalid, Engine, StoreUnavailable, tracing
from technopay.engine.tracing import payment_trace_id
from technopay.storage import RedisStore

CALLER = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{CALLER}-{PARENT}-01"}
PATIENT: dict[str, Any] = {"settlement_timeout_s": 5.0, "settlement_silence_s": 15.0, "message_timeout_s": 2.0}
"""Real times: on a busy machine, a call that is sent again would have spans of its own."""


class Spans:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def of(self, trace_id: int) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.all if span.context.trace_id == trace_id}

    def below(self, parent: ReadableSpan) -> list[str]:
        return [span.name for span in self.all if span.parent and span.parent.span_id == parent.context.span_id]


def use(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Have a provider in place of a global one, which could be set only once."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return Spans(exporter)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    return use(TracerProvider(id_generator=PaymentTraceIds(), shutdown_on_exit=False), monkeypatch)


async def finished(spans: Spans, trace_id: int, **counts: int) -> dict[str, ReadableSpan]:
    """Wait for spans of a payment, so many of each name."""

    async def look() -> bool:
        names = [span.name for span in spans.all if span.context.trace_id == trace_id]
        return all(names.count(name) >= count for name, count in counts.items())

    await wait_for(look)
    return spans.of(trace_id)


async def test_a_request_is_in_the_trace_of_its_caller_down_to_its_script(spans: Spans) -> None:
    async with RedisStore.fake() as store, running_api(store, **PATIENT) as api:
        alice = await make_person(api)
        payment = await alice.start()
        code = {"code": await right_code(api, payment)}
        reply = await alice.post(f"/payments/{payment['id']}/confirm", code, headers=HEADERS)
        assert reply.status == 200

        found = spans.of(int(CALLER, 16))

    request = found["POST /v1/payments/{payment_id}/confirm"]
    assert request.kind is trace.SpanKind.SERVER
    assert request.parent is not None
    assert request.parent.span_id == int(PARENT, 16)
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/v1/payments/{payment_id}/confirm",
        "http.response.status_code": 200, "technopay.code": "ok",
        "technopay.request_id": reply.headers["X-Request-Id"], "technopay.payment_id": payment["id"],
        "technopay.wallet_id": payment["wallet_id"], "technopay.invoice_id": payment["invoice_id"],
    }  # fmt: skip
    assert "ConfirmPayment" in spans.below(request)
    command = found["ConfirmPayment"]
    assert spans.below(command) == ["confirm_payment"]
    assert [link.context.trace_id for link in command.links] == [payment_trace_id(payment["id"])]
    for span in (command, found["confirm_payment"]):
        assert (span.attributes or {})["technopay.code"] == "ok"


async def test_settlement_and_messages_are_in_the_trace_of_the_payment(spans: Spans) -> None:
    async with RedisStore.fake() as store, running_api(store, **PATIENT) as api:
        alice = await make_person(api)
        payment = await alice.pay()
        await inbox(api, "alice", "payment.succeeded")
        found = await finished(spans, payment_trace_id(payment["id"]), settlement=1, message=2)

    settlement = found["settlement"]
    assert settlement.parent is None
    assert spans.below(settlement) == ["settle", "complete_payment"]
    assert spans.below(found["settle"]) == ["mock_settlement"]
    messages = [span for span in spans.all if span.name == "message"]
    assert [dict(span.attributes or {}) for span in messages] == [
        {"technopay.payment_id": payment["id"], "technopay.kind": kind, "technopay.channel": "email",
         "technopay.fate": "sent"}
        for kind in ("confirmation.code", "payment.succeeded")
    ]  # fmt: skip
    roots = {span.name for span in spans.all if span.parent is None}
    assert {name for name in roots if " " not in name} == {"settlement", "message"}, "no polling has a span"


async def test_spans_have_nothing_of_users_no_code_and_no_secret(spans: Spans) -> None:
    class Failing:
        async def deliver(self, message: Any) -> None:
            raise ConnectionError(f"cannot reach {message.to} for {message.user_id}: {message.code}")

    async with RedisStore.fake() as store:
        channel: Any = Failing()
        async with Engine(store, quick_settings(message_attempts=1), channels={"email": channel}) as engine:
            setup = await make_setup(engine, store, "alice.smith@example.com", email="alice@example.com")
            payment = await setup.start(await setup.invoice(merchant="bookshop-errors"))
            trace_id = payment_trace_id(payment.id)
            failed = (await finished(spans, trace_id, message=1))["message"]
            with pytest.raises(ConfirmationInvalid):
                await setup.confirm(payment, "000000x")
            code = await setup.right_code(payment)
            await setup.confirm(payment, wait_s=0)
            await finished(spans, trace_id, settlement=1)
        async with running_api(store, demo=False) as api:
            await api.get("/v1/wallets", user="alice.smith@example.com")
            await api.get("/v1/admin/users/alice.smith@example.com", user="operator", admin=True)
            await api.get("/v1/secret-of-a-path", user=None)
            token = api.token()

    assert (failed.attributes or {})["error.type"] == "ConnectionError"
    assert failed.status.status_code is trace.StatusCode.ERROR
    text = "".join(span.to_json() for span in spans.all)
    assert "settlement" in text
    for private in ("alice", "example.com", "bookshop", code, "000000x", SECRET, token, "secret-of-a-path"):
        assert private not in text


async def test_an_error_of_the_store_is_marked_in_every_span_above_it(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RedisStore.fake() as store, running_api(store, **PATIENT) as api:
        alice = await make_person(api)
        invoice = await alice.invoice()
        api.faults_expected = True
        client: Any = store._partition.client
        monkeypatch.setattr(client, "send", lambda *args: args[-1](StoreUnavailable()))
        reply = await alice.ask_to_start(invoice, headers=HEADERS)
        monkeypatch.undo()
        assert reply.status == 503
        found = spans.of(int(CALLER, 16))

    for name in ("POST /v1/payments", "StartPayment", "start_payment"):
        assert found[name].status.status_code is trace.StatusCode.ERROR
        assert (found[name].attributes or {})["error.type"] == "store_unavailable"
        assert not found[name].events, "an event would have the text of the error"


async def test_commands_that_wait_in_a_mailbox_keep_their_own_traces(spans: Spans) -> None:
    async with RedisStore.fake() as store, running_api(store, **PATIENT) as api:
        alice = await make_person(api, balance=100_000)
        invoices = [await alice.invoice() for _ in range(6)]
        callers = [f"{number:032x}" for number in range(1, 7)]
        await asyncio.gather(
            *(
                alice.ask_to_start(invoice, headers={"traceparent": f"00-{caller}-{PARENT}-01"})
                for invoice, caller in zip(invoices, callers, strict=True)
            )
        )
        for caller in callers:
            names = [span.name for span in spans.all if span.context.trace_id == int(caller, 16)]
            assert sorted(names) == ["POST /v1/payments", "StartPayment", "start_payment"]


async def test_a_ratio_keeps_the_same_payments_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[set[int]] = []
    payments = [f"pay_00{number}" for number in range(200)]
    for _ in range(2):
        provider = TracerProvider(
            sampler=TraceIdRatioBased(0.5), id_generator=PaymentTraceIds(), shutdown_on_exit=False
        )
        spans, active = use(provider, monkeypatch), tracing.active()
        assert active is not None
        for payment_id in payments:
            with active.payment("settlement", payment_id):
                pass
        kept.append({span.context.trace_id for span in spans.all})
    assert kept[0] == kept[1]
    assert 50 < len(kept[0]) < 150
    assert kept[0] < {payment_trace_id(payment_id) for payment_id in payments}


def test_without_a_provider_or_the_package_there_are_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.active() is None, "OpenTelemetry's own default makes no spans"
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    assert tracing.active() is None
    monkeypatch.setattr(tracing, "trace", None)
    assert tracing.active() is None


ENDPOINT = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("variables", "exporters"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_SDK_DISABLED": "True"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
    ],
)
def test_the_standard_variables_turn_traces_on(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], exporters: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert trace_exporters() == exporters


async def test_where_the_package_is_missing_the_variables_cause_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "technopay.cli.tracing", None)
    caplog.set_level(logging.WARNING)
    async with module._running_tracing(["otlp"]):
        assert caplog.messages == [
            "there are no traces: install technopay[otel], or set OTEL_SDK_DISABLED=true"
        ]


def test_an_exporter_that_is_not_installed_is_refused_in_one_line(tmp_path: Path) -> None:
    serve = ("serve", "--demo", "--port", "0", "--data-dir", "data")
    ended = run_command(tmp_path, *serve, settings={"OTEL_TRACES_EXPORTER": "pigeon"})
    assert_one_line(ended, 1, "OTEL_TRACES_EXPORTER: pigeon is not installed", "otlp")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector of OTLP over HTTP: its address, and the spans that it was sent, with their service."""
    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = ExportTraceServiceRequest.FromString(body)
            for each in request.resource_spans:
                service = {item.key: item.value.string_value for item in each.resource.attributes}
                received.extend(
                    (service["service.name"], span) for scope in each.scope_spans for span in scope.spans
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_exports_by_otlp_and_the_processes_of_a_payment_meet_in_its_trace(
    home: Path, collector: tuple[str, list[Any]], workers: str
) -> None:
    """It is started in one process, and confirmed in one of another run."""
    address, received = collector
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
    serve = ("serve", "--demo", "--port", "0", "--data-dir", "data", "--workers", workers)

    with running_command(home, *serve, settings=settings) as first:
        token = first.token()
        _, wallets = first.ask("GET", "/v1/wallets", token=token)
        _, invoices = first.ask("GET", "/v1/invoices?limit=100", token=token)
        invoice = next(each for each in invoices["data"] if each["merchant"] == "Bookshop")
        body = {"invoice_id": invoice["id"], "wallet_id": wallets["data"][0]["id"]}
        payment = first.ask("POST", "/v1/payments", body, token)[1]

        def look() -> str | None:
            _, found = first.ask("GET", "/mock/inbox/demo-alice")
            codes = (each["code"] for each in found["data"] if each["payment_id"] == payment["id"])
            return next(codes, None)

        code = eventually(look)
        assert first.stop() == 0
    trace_id = payment_trace_id(payment["id"]).to_bytes(16)
    names = {span.name for _, span in received if span.trace_id == trace_id}
    assert names == {"message", "add_to_mock_inbox"}, "the last spans are exported at the end"

    with running_command(home, *serve, settings=settings) as second:
        status, _ = second.ask("POST", f"/v1/payments/{payment['id']}/confirm", {"code": code}, second.token())
        assert status == 200
        assert second.stop() == 0
    found = {span.name for _, span in received if span.trace_id == trace_id}
    assert found == names | {"settlement", "settle", "mock_settlement", "complete_payment"}
    assert {service for service, _ in received} == {"technopay"}
    assert "POST /v1/payments/{payment_id}/confirm" in {span.name for _, span in received}
