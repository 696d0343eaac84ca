"""Addresses of servers: the URL of a store, and the Sentinels that name its primary."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

PORT, SENTINEL_PORT = 6379, 26379
SENTINELS_MAX = 16
NODES_MAX = 16
SENTINEL = "redis+sentinel"
CLUSTERS = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""Schemes of clusters, with those of their nodes."""
SCHEMES = ("redis", "rediss", "unix", SENTINEL, *CLUSTERS)
FORMS = (
    "has to be a URL like redis://host:6379, unix:///run/valkey.sock, "
    f"{SENTINEL}://host:26379,host:26379/name or redis+cluster://host:6379,host:6379"
)

HostPort = tuple[str, int]


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where a store is: at a URL, or at the address that Sentinels name."""

    url: str
    """Of the server; of one behind Sentinels, only user, password, database and options count."""
    shown: str
    """For messages: without user and password."""
    sentinels: tuple[HostPort, ...] = ()
    sentinel_url: str = ""
    """The sign-in at the Sentinels."""
    primary_name: str = ""
    nodes: tuple[HostPort, ...] = ()
    """Some nodes of a cluster; the others are learned from them."""


def parse_address(url: str) -> StoreAddress:
    """Read the URL of a store.

    `redis+sentinel://user:password@host:port,host:port/name/database`: user and password are those of the
    store; those of the Sentinels are the options `sentinel_username` and `sentinel_password`.
    `redis+cluster://user:password@host:port,host:port` names nodes of a cluster; `rediss+cluster://` uses TLS.

    Raises:
        ValueError: it is none; the message has the rule.

    """
    parts = urlsplit(url)
    scheme = parts.scheme
    if scheme not in SCHEMES:
        raise ValueError(FORMS)
    if scheme == SENTINEL:
        return _behind_sentinels(url)
    if scheme in CLUSTERS:
        return _of_cluster(url)
    if scheme == "unix":
        if not parts.path:
            raise ValueError(FORMS)
        return StoreAddress(url, unquote(parts.path))
    [(host, port)] = _hosts(parts.netloc, PORT, 1)
    return StoreAddress(scheme + url[len(scheme) :], shown_address(host, port))


def shown_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _behind_sentinels(url: str) -> StoreAddress:
    parts = urlsplit(url)
    sentinels = tuple(_hosts(parts.netloc, SENTINEL_PORT, SENTINELS_MAX))
    name, _, database = parts.path.removeprefix("/").partition("/")
    if not name or (database and not database.isdecimal()):
        raise ValueError(FORMS)
    options = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in options if name.startswith("sentinel_")}
    sign_in = [quote(own.pop(f"sentinel_{part}", ""), safe="") for part in ("username", "password")]
    if own:
        raise ValueError(f"has an option that is unknown: {', '.join(own)}")
    others = urlencode([(name, value) for name, value in options if not name.startswith("sentinel_")])
    credentials = parts.netloc.rpartition("@")[0]
    user = f"{credentials}@" if credentials else ""
    shown = ",".join(shown_address(*each) for each in sentinels)
    return StoreAddress(
        url=f"redis://{user}{name}/{database or 0}{'?' + others if others else ''}",
        shown=f"{unquote(name)} at the Sentinels {shown}",
        sentinels=sentinels,
        sentinel_url=f"redis://{':'.join(sign_in)}@sentinel" if any(sign_in) else "redis://sentinel",
        primary_name=unquote(name),
    )


def _of_cluster(url: str) -> StoreAddress:
    parts = urlsplit(url)
    if parts.path not in ("", "/", "/0"):
        raise ValueError("names a database: a cluster has only number 0")
    nodes = tuple(_hosts(parts.netloc, PORT, NODES_MAX))
    credentials = parts.netloc.rpartition("@")[0]
    user = f"{credentials}@" if credentials else ""
    return StoreAddress(
        url=f"{CLUSTERS[parts.scheme]}://{user}cluster/0{'?' + parts.query if parts.query else ''}",
        shown=f"the cluster {','.join(shown_address(*each) for each in nodes)}",
        nodes=nodes,
    )


def _hosts(netloc: str, default_port: int, hosts_max: int) -> Iterator[HostPort]:
    """Read the hosts of a URL, which commas separate."""
    hosts = netloc.rpartition("@")[2].split(",")
    if len(hosts) > hosts_max:
        raise ValueError(FORMS if hosts_max == 1 else f"names more than {hosts_max} hosts")
    for text in hosts:
        try:
            place = urlsplit(f"//{text}")
            host, port = place.hostname, place.port
        except ValueError:  # the port is no number, or the address has no end
            raise ValueError(FORMS) from None
        if not host or port == 0:
            raise ValueError(FORMS)
        yield host, port or default_port
