"""The `technopay` command."""

import asyncio
import io
import logging
import sys
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer.exceptions import TyperException

from technopay.cli.accept_loss import ACCEPTED, NOTHING, accept, read_meta, shown_losses
from technopay.cli.admin.command import PASSED_ON, admin
from technopay.cli.archive.archiving import NO_ARCHIVE
from technopay.cli.archive.commands import archive
from technopay.cli.audit import DataDir, RedisUrl, audit
from technopay.cli.auth import make_sign_in
from technopay.cli.cluster.commands import cluster, server_settings
from technopay.cli.demo.cluster import demo_cluster, guide_to
from technopay.cli.demo.guide import guide_text
from technopay.cli.demo.purchase import PurchaseError, make_purchase, print_receipt
from technopay.cli.load.plan import ScenarioName
from technopay.cli.logs import set_up_logging
from technopay.cli.process import (
    catch_signals,
    fail,
    fail_to_run,
    fit_connections,
    open_standard_streams,
    run_loop,
    say,
    say_address,
    writable_file,
)
from technopay.cli.reconciliation.command import reconcile
from technopay.cli.service import Service, running_service
from technopay.cli.settings import (
    ConfigurationError,
    Settings,
    UsageError,
    load_settings,
    parse_duration,
)
from technopay.cli.webhooks.commands import webhooks
from technopay.cli.workers.parent import serve_with_workers
from technopay.cli.workers.supervisor import WorkerFailed
from technopay.engine import StoreUnfit, StoreUninitialised, TechnopayError, __version__
from technopay.engine.fields import user_id_error
from technopay.storage import initialise_store, migrate_store

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="technopay",
    help="Pay invoices from wallets, exactly once or not at all.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.", show_default="8080"),
]


DURATION_S_MAX = 86_400
LIFETIME_S_MAX = 366 * 86_400


def _output_file(text: str) -> Path:
    """Check the name of a file that is written at the end, before anything runs."""
    try:
        return writable_file(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _seconds(given: str | float) -> float:
    text = str(given)
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not 1 <= seconds <= DURATION_S_MAX:
        raise typer.BadParameter(f"has to be 1 to {DURATION_S_MAX} seconds")
    return seconds


def _lifetime_s(text: str) -> int:
    try:
        lifetime_s = 0 if text.isdecimal() else parse_duration(text)
    except ValueError:
        lifetime_s = 0
    if not 0 < lifetime_s <= LIFETIME_S_MAX:
        raise UsageError("--expires has to be a number with s, m, h or d, like 1h, and at most 366d")
    return lifetime_s


JsonFile = Annotated[Path | None, typer.Option(parser=_output_file, metavar="FILE", help="For all figures.")]


def _show_version(*, wanted: bool) -> None:
    if wanted:
        print(f"technopay {__version__}")
        raise typer.Exit


app.add_typer(archive, name="archive")
app.add_typer(cluster, name="cluster")
app.add_typer(webhooks, name="webhooks")
app.command(context_settings=PASSED_ON, add_help_option=False)(admin)


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Pay invoices from wallets, exactly once or not at all."""


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    redis: RedisUrl = None,
    data_dir: DataDir = None,
    init: Annotated[bool, typer.Option("--init", help="Initialise a server that was never used.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Add demo data, the mock inbox and tokens.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that serve on the port.", show_default="1"),
    ] = None,
) -> None:
    """Run the HTTP server, on a server's store or on an embedded one."""
    settings = load_settings(redis_url=redis, data_dir=data_dir, host=host, port=port, workers=workers)
    serve = serve_with_workers if settings.workers > 1 else _serve
    run_loop(serve(settings, initialise=init, demo=demo))


@app.command()
def init(
    redis: RedisUrl = None,
    mark: Annotated[
        Path | None,
        typer.Option(
            help="File to write once the store is initialised; where it exists, an empty store is refused."
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Parts of the data, for ever: 1, or 256 to grow past one server later.",
            show_default="1, on a cluster 256",
        ),
    ] = None,
) -> None:
    """Initialise a store that was never used; one that is ours already is left as it is."""
    url, settings = server_settings(redis)
    may_be_new = mark is None or not mark.exists()
    try:
        is_new = run_loop(
            initialise_store(
                url,
                timezone=settings.timezone,
                durability=settings.durability,
                may_be_new=may_be_new,
                partitions=partitions,
            )
        )
    except StoreUninitialised as error:
        raise StoreUnfit(
            f"the store is empty, but {mark} says that it was initialised: its data is lost. Restore it, or "
            "remove that file to begin with nothing"
        ) from error
    if mark:
        mark.touch()
    print(f"technopay: the store is {'initialised' if is_new else 'ours already; it was left as it is'}")


@app.command()
def migrate(redis: RedisUrl = None) -> None:
    """Migrate a store of an earlier version. Engines of that version close; one that was broken off goes on."""
    url, settings = server_settings(redis)
    set_up_logging(settings.log_level, settings.log_format)
    was_migrated = run_loop(migrate_store(url, timezone=settings.timezone, durability=settings.durability))
    print(f"technopay: the store {'is migrated' if was_migrated else 'has the schema of this program already'}")


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Make one purchase, print its receipt, and end.")
    ] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="On a cluster of its own: three primaries, three replicas.")
    ] = False,
    port: Port = None,
    data_dir: DataDir = None,
) -> None:
    """Run the server with demo data on a throw-away store, or on a data directory."""
    port = 0 if once else port
    if data_dir is not None:
        if cluster:
            raise UsageError("--cluster runs on a throw-away store; leave --data-dir out")
        # An archive in the environment is that of another store.
        settings = load_settings(data_dir=data_dir, port=port).model_copy(update={"archive": None})
        run_loop(_demo(settings, once=once))
        return
    with tempfile.TemporaryDirectory(prefix="technopay-demo-") as folder:
        settings = load_settings(data_dir=folder, port=port).model_copy(update={"archive": NO_ARCHIVE})
        run_loop(_demo_on_cluster(settings, once=once) if cluster else _demo(settings, once=once))


@app.command()
def bench(json: JsonFile = None) -> None:
    """Measure the engine on an embedded store beside its ceiling and a baseline, as ratios."""
    from technopay.cli.bench.report import run_bench

    run_bench(json, Console())


@app.command()
def load(
    url: Annotated[str, typer.Option(help="Address of the server; it has to run with --demo.")],
    admin_token: Annotated[
        str | None, typer.Option(help="Token of an operator; without it, one is asked for.")
    ] = None,
    users: Annotated[int, typer.Option(min=1, max=10_000, help="Users to make, each with a wallet.")] = 100,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Purchases under way at a time: 32, or with --rate at most 1000."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, max=100_000, help="Purchases to begin each second, however slow the server is."),
    ] = None,
    duration: Annotated[
        float, typer.Option(parser=_seconds, metavar="DURATION", help="Seconds, or like 5m.")
    ] = 30,
    scenario: Annotated[ScenarioName, typer.Option(help="Which purchases.")] = ScenarioName.MIXED,
    report: Annotated[
        Path | None,
        typer.Option(parser=_output_file, metavar="FILE", help="For a page with charts."),
    ] = None,
    json: JsonFile = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="Condition that fails the run, like p99_ms>500; may be repeated."),
    ] = None,
) -> int:
    """Make concurrent purchases against a running server, and check its books.

    Exit status: 0 clean, 1 an invariant is broken, 2 could not run, 3 a condition of --fail-if holds.
    """
    try:
        from technopay.cli.load.command import fit_plan, run_load
        from technopay.cli.load.plan import make_plan, read_condition

        if admin_token is not None and not admin_token.strip():
            raise UsageError("--admin-token is empty")
        conditions = [read_condition(text) for text in fail_if or []]
        plan = make_plan(url, scenario, duration, users, concurrency, rate)
        plan = fit_plan(plan, is_default=concurrency is None)
        return run_load(plan, admin_token, report, json, Console(), conditions)
    except ImportError as error:
        raise UsageError(f"load needs {error.name}: pip install 'technopay[load]'") from error
    except Exception as error:
        # Status 1 would say that an invariant is broken.
        return fail_to_run("the load test", error)


app.command()(audit)
app.command()(reconcile)


@app.command("accept-loss")
def accept_loss(
    redis: RedisUrl = None,
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept it without a question.")] = False,
) -> int:
    """Use a store as it is, although it lost data, for example by a failover to a replica that was behind.

    Exit status: 0 accepted, 1 nothing to accept, 2 could not run.
    """
    try:
        settings = load_settings(redis_url=redis, data_dir=data_dir)
        meta = run_loop(read_meta(settings))
        losses = shown_losses(meta)
        if not losses:
            print(NOTHING)
            return 1
        print("\n".join(losses))
        if not yes and not typer.confirm("Accept the loss?"):
            return fail("the loss was not accepted; nothing was changed", 2)
        if not run_loop(accept(settings, meta["incarnation"])):
            return fail("the loss was accepted by somebody else meanwhile", 2)
    except typer.Abort:
        return fail("the loss was not accepted; --yes accepts it without a question", 2)
    except Exception as error:
        # Status 1 would say that there is nothing to accept.
        return fail_to_run("accept-loss", error)
    print(ACCEPTED)
    return 0


@app.command()
def token(
    user: Annotated[str, typer.Option(help="User id.")],
    admin: Annotated[bool, typer.Option("--admin", help="With the scope of an operator.")] = False,
    expires: Annotated[str, typer.Option(help="Lifetime: a number with s, m, h or d.")] = "1h",
) -> None:
    """Print a bearer token signed with TECHNOPAY_TOKEN_SECRET, or else a key derived from TECHNOPAY_SECRET."""
    if error := user_id_error(user):
        raise UsageError(f"--user {error}")
    lifetime_s = _lifetime_s(expires)
    signer = make_sign_in(load_settings()).require_signer("this command")
    print(signer.sign(user, admin=admin, lifetime_s=lifetime_s))


def run() -> None:
    """Run the command; an error is one line, never a traceback."""
    open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for encodings without a letter of ours
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="technopay", standalone_mode=False)
    except TyperException as error:
        status = fail(error.format_message(), 2)
    except UsageError as error:
        status = fail(str(error), 2)
    except (
        ConfigurationError, PurchaseError, StoreUnfit, TechnopayError, WorkerFailed, OSError,
    ) as error:  # fmt: skip
        status = fail(str(error), 1)
    except KeyboardInterrupt:
        status = 130
    except asyncio.CancelledError:
        status = 143  # ended by SIGTERM before it served
    except Exception as error:
        logger.debug("the command crashed", exc_info=True)
        status = fail(f"{type(error).__name__}: {error}", 1)
    sys.exit(status or 0)


async def _serve(settings: Settings, *, initialise: bool, demo: bool) -> None:
    async with _running(settings, settings.log_level, initialise=initialise, demo=demo) as service:
        stopped = catch_signals()  # before a reader of the address can send one
        say_address(service.url, service.metrics_url)
        await stopped.wait()
        say("technopay: draining")


async def _demo(settings: Settings, *, once: bool, initialise: bool = False, guide: str = "") -> None:
    log_level = "warning" if once else settings.log_level
    async with _running(settings, log_level, initialise=initialise, demo=True) as service:
        if once:
            print_receipt(await make_purchase(service.url), Console())
            return
        stopped = catch_signals()
        say(await guide_text(service.url, service.engine, service.sign_in) + guide)
        await stopped.wait()


async def _demo_on_cluster(settings: Settings, *, once: bool) -> None:
    async with demo_cluster(settings.data_dir) as nodes:
        on_nodes = settings.model_copy(update={"redis_url": nodes.url, "wait_replicas": 1})
        await _demo(on_nodes, once=once, initialise=True, guide=guide_to(nodes))


def _running(
    settings: Settings, log_level: str, *, initialise: bool = False, demo: bool
) -> AbstractAsyncContextManager[Service]:
    observer = set_up_logging(log_level, settings.log_format)
    settings = fit_connections(settings)
    return running_service(settings, initialise=initialise, demo=demo, observer=observer)
