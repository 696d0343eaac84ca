"""Runs every measurement once, side by side, and shows the figures."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from technopay.cli.bench.ceiling import run_ceiling
from technopay.cli.bench.foreign import compare_foreign
from technopay.cli.bench.ground import Ground, open_ground
from technopay.cli.bench.latency import confirm_p99_s
from technopay.cli.bench.memory import live_actor_bytes, ready_s
from technopay.cli.bench.purchases import run_engine
from technopay.cli.bench.requests import request_costs
from technopay.cli.bench.rival import run_rival
from technopay.cli.process import run_loop

PURCHASES = 6_000
WARM_UP = 500
RIVAL_PURCHASES = 2_000
WALLETS = 1_000
MANY_WALLETS = 1_000_000
FOREIGN_TRIES = 1_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, its bounds, and what it was measured beside. Of a ratio of speeds, more is better."""

    name: str
    value: float
    wanted: float
    dream: float
    beside: str
    more_is_better: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the wanted bound is met."""
        return self.value >= self.wanted if self.more_is_better else self.value <= self.wanted


async def measure(progress: Progress) -> Iterator[Figure]:
    """Run all measurements."""
    task = progress.add_task("ready_s")
    start_s = await asyncio.to_thread(ready_s)
    progress.update(task, description="live_actor_bytes")
    actor_bytes = await live_actor_bytes()
    figures = [
        Figure("live_actor_bytes", actor_bytes, 2_500, 1_000, "engine memory per actor with one command"),
        Figure("ready_s", start_s, 1.5, 0.7, "from start to /readyz on an embedded store"),
    ]
    async with open_ground() as ground:
        figures = [*await _purchases(ground, progress), *figures]
    return iter(figures)


async def _purchases(ground: Ground, progress: Progress) -> list[Figure]:
    task = progress.task_ids[0]

    def step(description: str) -> None:
        progress.update(task, description=description)

    step("idle_wallet_bytes")
    empty = (await ground.figures()).memory_bytes
    wallets = await ground.seed_wallets(WALLETS * 5)
    idle = ((await ground.figures()).memory_bytes - empty) / len(wallets)
    wallets = wallets[:WALLETS]

    step("warming up")
    await run_engine(ground, await ground.seed_bills(wallets, WARM_UP))

    step("the engine, from 1,000 wallets")
    engine = await run_engine(ground, await ground.seed_bills(wallets, PURCHASES))
    step("the ceiling: the same scripts, straight to the store")
    ceiling = await run_ceiling(ground, await ground.seed_bills(wallets, PURCHASES))
    step("the engine, from one wallet")
    hot = await run_engine(ground, await ground.seed_bills(wallets[:1], PURCHASES))
    step("the rival: a redis-py lock per wallet")
    rival_per_s = await run_rival(ground, await ground.seed_bills(wallets, RIVAL_PURCHASES))
    step("confirms at half the peak rate")
    bills = await ground.seed_bills(wallets, PURCHASES)
    through_engine_s, bare_s = await confirm_p99_s(ground, bills, engine.per_s / 2)
    step("purchases over HTTP, beside a bare handler")
    http = await request_costs(ground, wallets, PURCHASES)
    step("foreign and missing ids over HTTP")
    compared = await compare_foreign(ground, FOREIGN_TRIES)
    clearest = max(compared, key=lambda each: each.ratio)
    step("a million wallets")
    many = await ground.seed_many_wallets(MANY_WALLETS)
    step("the engine, from 1,000 of 1,000 again")
    few_again = await run_engine(ground, await ground.seed_bills(wallets, PURCHASES))
    step("the engine, from a million wallets")
    million = await run_engine(
        ground,
        await ground.seed_bills(random.Random(1).sample(many, PURCHASES), PURCHASES),  # noqa: S311
    )
    n = engine.purchases
    return [
        Figure("engine_vs_ceiling", engine.per_s / ceiling.per_s, 0.7, 0.9,
               f"{engine.per_s:,.0f} ÷ {ceiling.per_s:,.0f} purchases/s", more_is_better=True),
        Figure("engine_cpu_us", engine.cpu_us, 6 * ceiling.cpu_us, 3 * ceiling.cpu_us,
               "engine CPU per purchase, its messages and this driver included"),
        Figure("engine_cpu_vs_sender", engine.cpu_us / ceiling.cpu_us, 6, 3,
               f"÷ {ceiling.cpu_us:.0f} µs of the sender"),
        Figure("store_cpu_us", engine.script_us / n, 130, 80,
               f"in scripts; the ceiling's {ceiling.script_us / n:.0f}"),
        Figure("aof_bytes", engine.aof_bytes / n, 2_400, 1_400,
               f"per purchase; the ceiling's {ceiling.aof_bytes / n:,.0f}"),
        Figure("hot_wallet_vs_many", hot.per_s / engine.per_s, 0.7, 1.0,
               f"{hot.per_s:,.0f} ÷ {engine.per_s:,.0f} purchases/s", more_is_better=True),
        Figure("million_vs_thousand", million.per_s / few_again.per_s, 0.9, 1.0,
               f"{million.per_s:,.0f} ÷ {few_again.per_s:,.0f} purchases/s", more_is_better=True),
        Figure("confirm_p99_vs_script", through_engine_s / bare_s, 3, 1.5,
               f"{1e3 * through_engine_s:.1f} ÷ {1e3 * bare_s:.1f} ms at {engine.per_s / 2:,.0f}/s"),
        Figure("vs_redis_lock", engine.per_s / rival_per_s, 3, 6,
               f"{engine.per_s:,.0f} ÷ {rival_per_s:,.0f} purchases/s", more_is_better=True),
        Figure("http_request_vs_bare", http.purchase / http.bare, 2.0, 1.5,
               f"{http.purchase:.0f} ÷ {http.bare:.0f} µs of the server's CPU, mean of a purchase's requests"),
        Figure("http_confirm_vs_bare", http.watched["confirm"] / http.bare, 2.2, 1.5,
               f"{http.watched['confirm']:.0f} ÷ {http.bare:.0f} µs, with settlement and message"),
        Figure("http_watched_vs_quiet", http.purchase / http.quiet_purchase, 1.25, 1.1,
               f"with logs and metrics ÷ without: {http.quiet_purchase:.0f} µs"),
        Figure("http_refused_vs_bare", http.refused / http.bare, 1.0, 0.7,
               f"{http.refused:.0f} µs for a 503 when there are as many requests as may be"),
        Figure("foreign_vs_missing", clearest.ratio, 1.05, 1.02,
               f"{clearest.call}: {clearest.foreign_us:,.0f} and {clearest.missing_us:,.0f} µs, medians"),
        Figure("purchase_bytes", engine.memory_bytes / n, 1_600, 800, "store memory per finished purchase"),
        Figure("idle_wallet_bytes", idle, 700, 450, "store memory per user with one wallet"),
    ]  # fmt: skip


def run_bench(json_file: Path | None, console: Console) -> None:
    """Measure, show the table, and write the figures to a file if one is named."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        figures = list(run_loop(measure(progress)))
    table = Table("figure", "value", "wanted", "dream", "beside", title="technopay bench")
    for figure in figures:
        sign = "≥" if figure.more_is_better else "≤"
        colour = "green" if figure.is_met else "red"
        table.add_row(
            figure.name,
            f"[{colour}]{figure.value:,.2f}[/]",
            f"{sign} {figure.wanted:,.2f}",
            f"{sign} {figure.dream:,.2f}",
            figure.beside,
        )
    console.print(table)
    if json_file:
        json_file.write_text(json.dumps({figure.name: figure.value for figure in figures}, indent=2) + "\n")
