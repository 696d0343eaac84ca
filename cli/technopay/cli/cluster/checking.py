"""`technopay cluster check`: what is wrong with a cluster, and what it would lose now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Column, Table

from technopay.cli.cluster.nodes import BEHIND_BYTES_MAX, Node, Offsets, StoreCluster, connected
from technopay.cli.settings import Settings
from technopay.engine.errors import StoreUnavailable, StoreUnfit
from technopay.storage.records import fields_of
from technopay.storage.redis_keys import Keys
from technopay.storage.server.address import parse_address, shown_address
from technopay.storage.server.health import SETTINGS, require_durable
from technopay.storage.server.slot_map import slot_of

NODE_TIMEOUT_MS = range(2_000, 5_001)
CLUSTER_SETTINGS = (
    "cluster-require-full-coverage", "cluster-allow-replica-migration", "cluster-node-timeout",
)  # fmt: skip


@dataclass(slots=True)
class Report:
    """Findings, and a row for each node: name, role, partitions, memory, replicas, bytes at risk."""

    rows: list[Sequence[str]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def check_cluster(settings: Settings, url: str) -> Report:
    """Check the nodes of a store's cluster, and its settings.

    Raises:
        StoreUnavailable, StoreUnfit: the cluster cannot be asked, or has no store.

    """
    cluster = await StoreCluster.find(parse_address(url))
    report = Report()
    listed = [each.addresses for each in await cluster.members() if not each.flags & {"noaddr", "handshake"}]
    known = set(cluster.slots.nodes)
    members = [next((each for each in addresses if each in known), addresses[0]) for addresses in listed]
    for address in dict.fromkeys((*cluster.slots.nodes, *members)):
        try:
            async with connected(cluster.sign_in, [address]) as [node]:
                await _check_node(report, cluster, node, settings)
        except StoreUnavailable as error:
            report.findings.append(str(error))
    without = [each for each in range(cluster.partitions) if cluster.primary_of(each) is None]
    if without:
        report.findings.append(f"partitions without a node: {_shown(without)}")
    if not settings.wait_replicas:
        report.notes.append(
            "TECHNOPAY_WAIT_REPLICAS is 0: a failover loses what is at risk, and after it limits can be passed"
        )
    for first, second in _in_one_slot(cluster.partitions):
        report.notes.append(f"partitions {first:02x} and {second:02x} are in one slot: they move together")
    return report


async def _check_node(report: Report, cluster: StoreCluster, node: Node, settings: Settings) -> None:
    info = await node.info()
    configured = fields_of(await node.run("CONFIG", "GET", *SETTINGS, *CLUSTER_SETTINGS))
    try:
        require_durable(configured, settings.durability, node.name)
    except StoreUnfit as error:
        report.findings.append(str(error))
    report.findings += _wrong_settings(node.name, configured)
    report.findings += [
        f"{node.name}: slot {slot} is being moved key by key to node {target}, and its partition is closed "
        "until it has moved: end that with `technopay cluster move`"
        for slot, target in (await node.moves()).items()
    ]
    memory = f"{int(info['used_memory']) / 1_048_576:,.0f} MB"
    if info["role"] != "master":
        report.rows.append((node.name, "replica", "", memory, "", ""))
        if info.get("master_link_status") != "up":
            report.findings.append(f"{node.name}: the link to its primary is {info.get('master_link_status')}")
        return
    partitions, offsets = cluster.partitions_at(node.address), Offsets.of(info)
    risk = "all of it" if offsets.at_risk is None else f"{offsets.at_risk:,} bytes"
    replicas = ", ".join(shown_address(*each) for each in offsets.replicas)
    report.rows.append((node.name, "primary", str(len(partitions)), memory, replicas, risk))
    report.findings += _wrong_replicas(node.name, offsets, settings.wait_replicas)


def _wrong_settings(name: str, configured: Mapping[str, str]) -> Iterator[str]:
    if configured.get("cluster-require-full-coverage") == "yes":
        yield f"{name}: cluster-require-full-coverage is yes: one lost shard stops all others; set it to no"
    if configured.get("cluster-allow-replica-migration") == "no":
        yield f"{name}: cluster-allow-replica-migration is no: no spare replica helps a primary without one"
    timeout_ms = int(configured.get("cluster-node-timeout", NODE_TIMEOUT_MS[0]))
    if timeout_ms not in NODE_TIMEOUT_MS:
        yield (
            f"{name}: cluster-node-timeout is {timeout_ms} ms; so long a dead primary is not replaced, and a "
            f"slow one is not left in peace: {NODE_TIMEOUT_MS[0]} to {NODE_TIMEOUT_MS[-1]} are good"
        )


def _wrong_replicas(name: str, offsets: Offsets, wait_replicas: int) -> Iterator[str]:
    count, wanted = len(offsets.replicas), wait_replicas + 1
    if not count:
        yield f"{name}: it has no replica in reach: nothing can take its place"
    elif count < wanted:
        yield (
            f"{name}: it has {count} of {wanted} replicas in reach: a failover leaves fewer than "
            f"TECHNOPAY_WAIT_REPLICAS, and its payments stand still until one is back"
        )
    for replica in offsets.replicas:
        if (behind := offsets.behind(replica)) > BEHIND_BYTES_MAX:
            yield f"{name}: its replica {shown_address(*replica)} is {behind:,} bytes behind"


def _in_one_slot(partitions: int) -> Iterator[tuple[int, int]]:
    by_slot: dict[int, int] = {}
    for partition in range(partitions):
        first = by_slot.setdefault(slot_of(Keys(partition=partition).tag), partition)
        if first != partition:
            yield first, partition


def _shown(partitions: Sequence[int]) -> str:
    return " ".join(f"{each:02x}" for each in partitions)


def print_report(report: Report, console: Console) -> None:
    names = ("node", "role", "partitions", "memory", "replicas in reach", "at risk now")
    columns = (Column(name, no_wrap=True, overflow="ignore") for name in names)
    table = Table(*columns, box=None, pad_edge=False)
    for row in report.rows:
        table.add_row(*row)
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)
    for finding in report.findings:
        console.print(f"finding: {finding}", soft_wrap=True, markup=False, highlight=False)
    count = len(report.findings)
    console.print(f"{count or 'no'} finding{'s' if count > 1 else ''}", highlight=False)
