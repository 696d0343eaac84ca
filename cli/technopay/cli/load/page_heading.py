"""The top of the report: the verdict, what was run, and the figures that are read first."""

from __future__ import annotations

from typing import Literal

from technopay.cli.load.page_markup import Html, element, join, table
from technopay.cli.load.page_markup import cell as words
from technopay.cli.load.result import Latency, Operation, Result, Verdict
from technopay.cli.load.units import (
    UNKNOWN,
    written_bytes,
    written_change,
    written_count,
    written_ms,
    written_rate,
    written_s,
    written_share,
    written_us,
)

Judgement = Literal["clean", "broken", "unknown"]

SHOWN_MAX = 200
"""Differences that are shown; the rest is in the data of the page."""


def judge(verdict: Verdict) -> Judgement:
    """Tell clean from broken from not known. One difference is enough, whatever else could not be looked at."""
    if verdict.is_broken:
        return "broken"
    return "clean" if verdict.clean and verdict.problem is None else "unknown"


def title_of(result: Result) -> str:
    """Answer what the page is called, with the verdict where a tab shows it."""
    verdict = {"clean": "clean", "broken": "BROKEN", "unknown": "no verdict"}[judge(result.verdict)]
    return f"{verdict}: load test {result.plan.scenario}, {_when(result)}"


def heading(result: Result) -> Html:
    """Make the top of the page."""
    return join([_verdict(result.verdict), _facts(result), *_notes(result), _figures(result)])


def differences(verdict: Verdict) -> Html:
    """Make the list of what is not as it has to be; nothing where there is nothing."""
    if judge(verdict) != "broken":
        return Html()
    rows = [
        [words(each.invariant), words(each.subject), words(each.what), words(each.expected), words(each.found)]
        for each in (verdict.audit.differences if verdict.audit else [])
    ]
    parts: list[Html] = [element("h2", "What is broken")]
    if rows:
        columns = ("Invariant", "About", "What", "Has to be", "Is")
        parts += [element("h3", f"By the server’s audit: {written_count(len(rows))}")]
        parts += [table("Differences of the audit", columns, rows[:SHOWN_MAX]), _rest(len(rows))]
    if found := verdict.differences:
        parts += [element("h3", f"By the journal of this program: {written_count(len(found))}")]
        items = (element("li", text) for text in found[:SHOWN_MAX])
        parts += [element("ul", *items, class_="differences"), _rest(len(found))]
    return element("section", *parts, class_="broken-list")


def _rest(count: int) -> Html:
    if count <= SHOWN_MAX:
        return Html()
    return element("p", f"… and {written_count(count - SHOWN_MAX)} more, in the data of this page.")


def _verdict(verdict: Verdict) -> Html:
    judgement = judge(verdict)
    sign, title = {
        "clean": ("✓", "Clean: money moved as it has to"),
        "broken": ("✗", "BROKEN: money did not move as it has to"),
        "unknown": ("?", "No verdict"),
    }[judgement]
    text = [element("h1", title)]
    if judgement == "broken":
        names = (element("code", name) for name in verdict.broken_invariants)
        text.append(element("p", *names, class_="invariants"))
    if verdict.problem is not None:
        text.append(element("p", verdict.problem))
    elif judgement == "unknown":
        text.append(element("p", "Nothing says why."))
    text.append(element("p", _looked_at(verdict), class_="small"))
    mark = element("span", sign, class_="sign", aria_hidden="true")
    return element("header", mark, element("div", *text), class_=f"verdict {judgement}")


def _looked_at(verdict: Verdict) -> str:
    """Tell what the verdict stands on."""
    own = f"{written_count(verdict.acknowledged)} answers that told of a payment were kept"
    if verdict.audit is None:
        return f"{own}. The server gave no audit."
    checked = verdict.audit.checked
    return (
        f"{own}; the server’s audit looked at {written_count(checked.payments)} payments, "
        f"{written_count(checked.invoices)} invoices, {written_count(checked.wallets)} wallets "
        f"and {written_count(checked.entries)} entries."
    )


def _facts(result: Result) -> Html:
    plan = result.plan
    load = f"at most {written_count(plan.concurrency)} purchases at a time"
    if plan.rate_per_s is not None:
        load = f"{written_rate(plan.rate_per_s)} purchases/s begun, {load}"
    ran = written_s(result.ran_s)
    facts = {
        "Scenario": plan.scenario,
        "Server": plan.url,
        "Began": element("time", _when(result), datetime=result.began_at.isoformat()),
        "Took": f"{ran} of {written_s(plan.duration_s)}, ended early" if result.ended_early else ran,
        "Load": f"{written_count(plan.users)} users, {load}",
        "Machine": result.machine,
        "Version": f"technopay {result.version}",
    }
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in facts.items()),
        class_="facts",
    )


def _when(result: Result) -> str:
    return f"{result.began_at:%Y-%m-%d %H:%M:%S} {result.began_at.tzname() or ''}".rstrip()


def _notes(result: Result) -> list[Html]:
    """Say what has to be known before a figure is believed."""
    notes = []
    if not result.generator.is_to_be_trusted:
        notes.append(
            "Do not trust the speeds and times below: this program was itself too busy "
            f"({result.generator.cpu:.2f} cores used; a purchase began up to "
            f"{written_ms(result.generator.lag_p99_ms)} late). The verdict holds all the same."
        )
    surprises = sum(sum(story.surprises.values()) for story in result.stories)
    if surprises:
        notes.append(f"{written_count(surprises)} purchases did not end as they have to: see Stories.")
    if result.ended_early:
        notes.append("The run was ended early.")
    return [element("p", text, class_="note") for text in notes]


def _figures(result: Result) -> Html:
    purchase = next((each for each in result.operations if each.name == "purchase"), None)
    latency = purchase.latency if purchase else None
    server = result.server
    memory = written_change(server.memory_bytes_before, server.memory_bytes_after)
    figures = [
        _figure("Purchases / s", written_rate(purchase.per_s) if purchase else None, _made(purchase)),
        _figure("Rejected", written_share(result.rejected), "of what ended"),
        *(_figure(f"Purchase {name}", *_time(latency, name)) for name in ("p50", "p95", "p99")),
        _figure("CPU per request", _known(written_us(server.cpu_us_per_request)), "of the server"),
        _figure("Store growth", _known(written_bytes(server.store_bytes_per_purchase)), "per purchase"),
        _figure(
            "Server memory",
            _known(memory),
            f"at most {written_bytes(server.memory_bytes_max)}" if server.memory_bytes_max is not None else "",
            class_="wide",
        ),
    ]
    return element("ul", *figures, class_="figures", aria_label="The most important figures")


def _figure(name: str, value: str | None, beside: str, **attributes: str) -> Html:
    shown = element("strong", value) if value else element("strong", UNKNOWN, class_="unknown")
    return element("li", element("span", name), shown, element("small", beside), **attributes)


def _known(text: str) -> str | None:
    return None if text == UNKNOWN else text


def _made(purchase: Operation | None) -> str:
    return f"{written_count(purchase.count)} paid" if purchase else ""


def _time(latency: Latency | None, name: str) -> tuple[str | None, str]:
    if latency is None:
        return None, ""
    value = {"p50": latency.p50_ms, "p95": latency.p95_ms, "p99": latency.p99_ms}[name]
    beside = f"longest {written_ms(latency.max_ms)}" if name == "p99" else ""
    return written_ms(value), beside
