"""The measurements of developers, beside `technopay bench`: `cd tests && python -m measure [FILE.json]`."""

import asyncio
import json
import sys
from pathlib import Path

from measure.http_requests import request_costs
from measure.process_costs import live_actor_bytes, ready_s
from measure.timing_side_channel import compare_foreign
from rich.console import Console

from technopay.cli.bench.environment import Environment, open_environment
from technopay.cli.bench.report import Figure, figures_table
from technopay.cli.process import run_loop

WALLETS = 1_000
PURCHASES = 6_000
FOREIGN_TRIES = 1_000


async def measure() -> list[Figure]:
    start_s = await asyncio.to_thread(ready_s)
    actor_bytes = await live_actor_bytes()
    async with open_environment() as environment:
        return [
            *await _over_http(environment),
            Figure("live_actor_bytes", actor_bytes, 2_500, 1_000, "engine memory per actor with one command"),
            Figure("ready_s", start_s, 1.5, 0.7, "from start to /readyz on an embedded store"),
        ]


async def _over_http(environment: Environment) -> list[Figure]:
    http = await request_costs(environment, await environment.seed_wallets(WALLETS), PURCHASES)
    compared = await compare_foreign(environment, FOREIGN_TRIES)
    clearest = max(compared, key=lambda each: each.ratio)
    return [
        Figure("http_request_vs_bare", http.purchase / http.bare, 2.0, 1.5,
               f"{http.purchase:.0f} ÷ {http.bare:.0f} µs of the server's CPU, mean of a purchase's requests"),
        Figure("http_confirm_vs_bare", http.watched["confirm"] / http.bare, 2.2, 1.5,
               f"{http.watched['confirm']:.0f} ÷ {http.bare:.0f} µs, with settlement and message"),
        Figure("http_watched_vs_quiet", http.purchase / http.quiet_purchase, 1.25, 1.1,
               f"with logs and metrics ÷ without: {http.quiet_purchase:.0f} µs"),
        Figure("http_refused_vs_bare", http.refused / http.bare, 1.0, 0.7,
               f"{http.refused:.0f} µs for a 503 at capacity"),
        Figure("foreign_vs_missing", clearest.ratio, 1.05, 1.02,
               f"{clearest.call}: {clearest.foreign_us:,.0f} and {clearest.missing_us:,.0f} µs, medians"),
    ]  # fmt: skip


if __name__ == "__main__":
    figures = run_loop(measure())
    Console().print(figures_table("measurements of developers", figures))
    for file in sys.argv[1:]:
        Path(file).write_text(json.dumps({figure.name: figure.value for figure in figures}, indent=2) + "\n")
