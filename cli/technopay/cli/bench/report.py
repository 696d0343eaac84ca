"""Runs every measurement once, side by side, and shows the figures."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from technopay.cli.bench.baseline_lock import run_baseline
from technopay.cli.bench.ceiling import run_ceiling
from technopay.cli.bench.environment import Environment, open_environment
from technopay.cli.bench.purchases import confirm_p99_s, run_engine
from technopay.cli.process import run_loop

PURCHASES = 6_000
WARM_UP = 500
BASELINE_PURCHASES = 2_000
WALLETS = 1_000
MANY_WALLETS = 1_000_000

Wallets = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, its bounds, and the measurements behind it. Of a ratio of speeds, more is better."""

    name: str
    value: float
    wanted: float
    dream: float
    beside: str
    more_is_better: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.wanted if self.more_is_better else self.value <= self.wanted


async def measure(step: Callable[[str], None]) -> list[Figure]:
    async with open_environment() as environment:
        return await _measure(environment, step)


async def _measure(environment: Environment, step: Callable[[str], None]) -> list[Figure]:
    step("idle_wallet_bytes")
    empty = (await environment.figures()).memory_bytes
    wallets = await environment.seed_wallets(WALLETS * 5)
    idle = ((await environment.figures()).memory_bytes - empty) / len(wallets)
    wallets = wallets[:WALLETS]
    invoices = environment.seed_invoices

    step("warming up")
    await run_engine(environment, await invoices(wallets, WARM_UP))
    step("the engine, from 1,000 wallets")
    engine = await run_engine(environment, await invoices(wallets, PURCHASES))
    step("the ceiling: the same scripts, straight to the store")
    ceiling = await run_ceiling(environment, await invoices(wallets, PURCHASES))
    step("the engine, from one wallet")
    many_per_s, hot_per_s = await _speeds(environment, wallets, wallets[:1])
    step("the baseline: a redis-py lock per wallet")
    baseline_per_s = await run_baseline(environment, await invoices(wallets, BASELINE_PURCHASES))
    step("confirms at half the peak rate")
    through_engine_s, bare_s = await confirm_p99_s(
        environment, await invoices(wallets, PURCHASES), engine.per_s / 2
    )
    step("a million wallets")
    million = await environment.seed_many_wallets(MANY_WALLETS)
    step("the engine, from a million wallets")
    thousand_per_s, million_per_s = await _speeds(environment, wallets, million)
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
        Figure("aof_bytes", engine.aof_bytes / n, 2_600, 1_400,
               f"per purchase; the ceiling's {ceiling.aof_bytes / n:,.0f}"),
        Figure("hot_wallet_vs_many", hot_per_s / many_per_s, 0.7, 1.0,
               f"{hot_per_s:,.0f} ÷ {many_per_s:,.0f} purchases/s", more_is_better=True),
        Figure("million_vs_thousand", million_per_s / thousand_per_s, 0.9, 1.0,
               f"{million_per_s:,.0f} ÷ {thousand_per_s:,.0f} purchases/s", more_is_better=True),
        Figure("confirm_p99_vs_script", through_engine_s / bare_s, 3, 1.5,
               f"{1e3 * through_engine_s:.1f} ÷ {1e3 * bare_s:.1f} ms at {engine.per_s / 2:,.0f}/s"),
        Figure("vs_redis_lock", engine.per_s / baseline_per_s, 3, 6,
               f"{engine.per_s:,.0f} ÷ {baseline_per_s:,.0f} purchases/s", more_is_better=True),
        Figure("purchase_bytes", engine.memory_bytes / n, 1_600, 800, "store memory per finished purchase"),
        Figure("idle_wallet_bytes", idle, 700, 450, "store memory per user with one wallet"),
    ]  # fmt: skip


async def _speeds(environment: Environment, first: Wallets, second: Wallets) -> tuple[float, float]:
    """Return purchases per second from two sets of wallets, measured around each other.

    A store gets slower as it grows: in the order 1–2–2–1 its age weighs on both alike.
    """
    seconds = {True: 0.0, False: 0.0}
    half, chance = PURCHASES // 2, random.Random(1)  # noqa: S311
    for is_first in (True, False, False, True):
        wallets = first if is_first else second
        sample = chance.sample(wallets, min(half, len(wallets)))
        run = await run_engine(environment, await environment.seed_invoices(sample, half))
        seconds[is_first] += run.seconds
    return 2 * half / seconds[True], 2 * half / seconds[False]


def figures_table(title: str, figures: list[Figure]) -> Table:
    table = Table("figure", "value", "wanted", "dream", "beside", title=title)
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
    return table


def run_bench(json_file: Path | None, console: Console) -> None:
    """Measure, show the table, and write the figures to a file if one is named."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        figures = run_loop(measure(lambda description: progress.update(task, description=description)))
    console.print(figures_table("technopay bench", figures))
    if json_file:
        json_file.write_text(json.dumps({figure.name: figure.value for figure in figures}, indent=2) + "\n")
