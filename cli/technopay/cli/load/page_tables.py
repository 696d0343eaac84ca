"""The tables of the report: outcomes, stories, operations, and how the generator did."""

from __future__ import annotations

from collections import Counter

from technopay.cli.load.page_markup import Html, cell, element, join, number, share_bar, table
from technopay.cli.load.result import Generator, Latency, Operation, Outcome, Result, Story
from technopay.cli.load.units import written_count, written_ms, written_rate, written_share

NOTHING = "–"


def tables(result: Result) -> Html:
    """Make all tables."""
    return join(
        [
            _section("stories", "Stories", _stories(result.stories, result.never_begun)),
            _section("operations", "Operations", _operations(result.operations)),
            _section("outcomes", "Outcomes", _outcomes(result)),
            _section("generator", "This program itself", _generator(result.generator)),
        ]
    )


def _section(name: str, title: str, *children: Html) -> Html:
    return element("section", element("h2", title, id=name), *children, aria_labelledby=name)


def _nothing() -> Html:
    return element("p", "There was nothing to count.", class_="unknown")


def _stories(stories: list[Story], never_begun: int) -> Html:
    if not stories:
        return _nothing()
    rows = [_story(story) for story in stories]
    if len(stories) > 1:
        rows.append([element("th", "all", scope="row"), *_story(_sum(stories))[1:]])
    columns = ("Story", "#Begun", "#Ended", "#As expected", "#Turned away", "#Surprises", "What surprised")
    why = "Turned away is the right end under too much load; a surprise is none. What is missing was cut off."
    if never_begun:
        why += f" {written_count(never_begun)} more were due, and waited in line until the end."
    return join([table("Stories", columns, rows), element("p", why, class_="small")])


def _story(story: Story) -> list[Html]:
    surprises = sum(story.surprises.values())
    return [
        element("th", story.name.replace("_", " "), scope="row"),
        number(written_count(story.begun)),
        number(written_count(story.ended)),
        number(written_count(story.as_expected)),
        number(written_count(story.turned_away)),
        element("td", written_count(surprises), class_="number bad" if surprises else "number"),
        cell(", ".join(f"{code} × {written_count(n)}" for code, n in Counter(story.surprises).most_common())),
    ]


def _sum(stories: list[Story]) -> Story:
    surprises: Counter[str] = Counter()
    for story in stories:
        surprises.update(story.surprises)
    return Story(
        name="all",
        begun=sum(story.begun for story in stories),
        ended=sum(story.ended for story in stories),
        as_expected=sum(story.as_expected for story in stories),
        turned_away=sum(story.turned_away for story in stories),
        surprises=dict(surprises),
    )


def _operations(operations: list[Operation]) -> Html:
    if not operations:
        return _nothing()
    ordered = sorted(operations, key=lambda each: each.name != "purchase")
    columns = ("Operation", "#Count", "#Each second", "#p50", "#p95", "#p99", "#Longest")
    why = (
        "Times are of what succeeded; those of refusals are under Outcomes. "
        "They count from when each should have begun: what waited in this program counts, too."
    )
    return join([table("Operations", columns, map(_operation, ordered)), element("p", why, class_="small")])


def _operation(operation: Operation) -> list[Html]:
    return [
        element("th", operation.name, scope="row"),
        number(written_count(operation.count)),
        number(written_rate(operation.per_s)),
        *_times(operation.latency),
    ]


def _times(latency: Latency | None) -> list[Html]:
    times = [latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms] if latency else [None] * 4
    return [number(NOTHING if time is None else written_ms(time)) for time in times]


def _outcomes(result: Result) -> Html:
    """Sort outcomes: of the whole purchase, then of requests in their order; the most frequent first."""
    if not result.outcomes:
        return _nothing()
    order = {operation.name: place for place, operation in enumerate(result.operations)} | {"purchase": -1}
    ordered = sorted(
        result.outcomes,
        key=lambda each: (order.get(each.operation, len(order)), each.operation, -each.count, each.code),
    )
    counts: Counter[str] = Counter()
    for outcome in ordered:
        counts[outcome.operation] += outcome.count
    columns = ("Operation", "Code", "#Count", "#Share", "#p50", "#p95", "#p99", "#Longest", "#Status", "")
    return table("Outcomes", columns, [_outcome(each, counts[each.operation]) for each in ordered])


def _outcome(outcome: Outcome, count: int) -> list[Html]:
    is_fault = outcome.status == 0 or outcome.status >= 500
    share = outcome.count / count if count else 0.0
    return [
        element("th", outcome.operation, scope="row"),
        element("td", element("code", outcome.code)),
        number(written_count(outcome.count)),
        number(written_share(share)),
        *_times(outcome.latency),
        element(
            "td",
            str(outcome.status) if outcome.status else "no answer",
            class_="number bad" if is_fault else "number",
        ),
        cell(share_bar(share)),
    ]


def _generator(generator: Generator) -> Html:
    trusted = (
        element("p", "✓ To be trusted: it kept up with what it had to do.")
        if generator.is_to_be_trusted
        else element(
            "p",
            "✗ Not to be trusted: it was too busy, so speeds and times are its own and not the server’s. "
            "Take a smaller load, or another machine for it.",
            class_="note",
        )
    )
    rows = [
        [element("th", "CPU", scope="row"), number(f"{generator.cpu:.2f} of 1 core")],
        [element("th", "How late purchases began, p99", scope="row"), number(written_ms(generator.lag_p99_ms))],
    ]
    return join([trusted, table("This program itself", ("What", "#How much"), rows)])
