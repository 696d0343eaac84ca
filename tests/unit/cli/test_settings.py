"""Settings: the order of their sources, the accepted forms, and the problems of wrong ones."""

import stat
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.engine_setup import SECRET

from technopay.cli.service import make_store
from technopay.cli.settings import ConfigurationError, UsageError, load_settings
from technopay.engine import StoreUnfit

OTHER = "another secret for tests; it has 44 characters"
BEHAVIOUR = ("codes_per_hour", "confirms_per_minute", "failures_per_day")
SERVER_URLS = (
    "redis://h", "redis://:pw@h:6379/1", "rediss://h:1", "unix:///run/valkey.sock", "redis://[::1]:6379"
)  # fmt: skip
Set = Callable[..., None]

pytestmark = pytest.mark.usefixtures("given")


def refusal(**flags: Any) -> list[str]:
    with pytest.raises((ConfigurationError, UsageError)) as refused:
        load_settings(**flags)
    return sorted(str(refused.value).split("\n"))


def test_the_defaults_are_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()

    assert settings.redis_url is None
    assert settings.secret is None
    assert settings.data_dir == Path("/home/alice/.local/share/technopay")
    assert (settings.timezone, settings.code_lifetime_s, settings.durability) == ("UTC", 300, "always")
    assert (settings.wait_replicas, settings.wait_ms) == (0, 500)
    assert (settings.archive, settings.keep_days) == (None, 35)
    assert (settings.codes_per_hour, settings.confirms_per_minute, settings.failures_per_day) == (5, 5, 10)
    assert (settings.token_algorithm, settings.token_issuer, settings.token_audience) == ("HS256", None, None)
    assert (settings.connections_max, settings.requests_max) == (1_000, 1_000)
    assert (settings.host, settings.port, settings.workers, settings.keepalive_s) == ("127.0.0.1", 8080, 1, 75)
    assert (settings.secret_previous, settings.token_secret_previous) == ((), ())
    assert (settings.cors_origins, settings.trusted_proxies) == ((), ())
    assert (settings.settlement, settings.email, settings.sms, settings.verifier) == (None,) * 4
    monkeypatch.setenv("XDG_DATA_HOME", "/share")
    assert load_settings().data_dir == Path("/share/technopay")


def test_a_flag_goes_before_the_environment_and_that_before_the_file(given: Set) -> None:
    Path(".env").write_text(
        "TECHNOPAY_REDIS_URL=redis://file\nTECHNOPAY_TIMEZONE=Europe/Berlin\nDATABASE_URL=x\nTECHNO=1\n"
    )
    assert load_settings().redis_url == "redis://file"

    given(redis_url="redis://environment", data_dir="environment")
    assert load_settings().redis_url == "redis://environment"
    assert load_settings().timezone == "Europe/Berlin"

    assert load_settings(redis_url="redis://flag").redis_url == "redis://flag"
    # A data directory as a flag means the embedded store.
    settings = load_settings(data_dir=Path("flag"))
    assert (settings.redis_url, settings.data_dir) == (None, Path("flag"))


def test_a_file_that_is_no_text_is_named() -> None:
    Path(".env").write_bytes(b"TECHNOPAY_SECRET=\xff\xfe")

    assert refusal() == ["the file .env is not in UTF-8"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("code_lifetime_s", "90", 90),
        ("code_lifetime_s", "90s", 90),
        ("code_lifetime_s", "5m", 300),
        ("code_lifetime_s", " 5M ", 300),
        ("keepalive_s", "1h", 3600),
        ("durability", "EverySec", "everysec"),
        ("log_level", "WARNING", "warning"),
        ("log_format", "Json", "json"),
        ("metrics", "FALSE", False),
        ("metrics", "off", False),
        ("metrics_port", "9464", 9464),
        ("token_algorithm", "es256", "ES256"),
        ("timezone", "europe/BERLIN", "Europe/Berlin"),
        ("redis_url", "REDIS://h:1", "redis://h:1"),
        ("data_dir", "~/tp", Path("/home/alice/tp")),
        ("token_public_key_file", "~/keys.pem", Path("/home/alice/keys.pem")),
        ("host", "::1", "::1"),
        ("port", "0", 0),
        ("keep_days", "7", 7),
        *((name, text, int(text)) for name in BEHAVIOUR for text in ("0", "7")),
        *(("redis_url", url, url) for url in SERVER_URLS),
        ("settlement", "shop.bank:make", "shop.bank:make"),
        ("settlement", "Mock", "mock"),
        ("verifier", "totp:Verifier.from_context", "totp:Verifier.from_context"),
        ("cors_origins", "https://Shop.example, http://localhost:3000/", ("https://shop.example", "http://localhost:3000")),
        ("trusted_proxies", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ],
)  # fmt: skip
def test_a_setting_is_taken_in_every_form_that_is_meant(
    given: Set, name: str, text: str, value: object
) -> None:
    given(**{name: text})

    assert getattr(load_settings(), name) == value


WRONG_FORMS: list[tuple[str, str, tuple[str, ...]]] = [
    ("code_lifetime_s", "like 10s or 5m", ("5 minutes", "-5m", "1e2", "٩٠")),
    ("code_lifetime_s", "10", ("9s",)),
    ("keepalive_s", "1", ("0",)),
    ("keepalive_s", "3600", ("2h",)),
    ("port", "65535", ("65536",)),
    ("port", "integer", ("http",)),
    ("keep_days", "greater than or equal to 7", ("6", "0", "-7")),
    ("keep_days", "less than or equal to 36500", ("36501",)),
    ("keep_days", "integer", ("7d", "none", "7.5")),
    ("workers", "1", ("0",)),
    ("workers", "64", ("65",)),
    ("connections_max", "1", ("0",)),
    ("requests_max", "integer", ("many",)),
    ("durability", "'always', 'everysec' or 'unchecked'", ("perhaps",)),
    ("wait_replicas", "8", ("9",)),
    ("wait_replicas", "0", ("-1",)),
    ("wait_ms", "10", ("9",)),
    ("wait_ms", "5000", ("6000",)),
    ("timezone", "like Europe/Berlin", ("Mars/Olympus", "../etc/passwd")),
    ("redis_url", "URL like redis://host:6379", ("localhost:6379",)),
    ("host", "address", ("a b", "http://h/")),
    ("settlement", "package.module:factory", ("bank", "bank:make()", "./bank.py:make")),
    ("email", "package.module:factory", ("smtp:",)),
    ("sms", "package.module:factory", (":make",)),
    ("verifier", "package.module:factory", ("a-b:c",)),
    (
        "redis_url",
        "redis+sentinel://host:26379",
        (
            "redis+sentinel://h:1",
            "redis+sentinel:///main",
            "redis+sentinel://h:x/main",
            "redis+sentinel://h/main/x",
            "redis+sentinel://h:0/main",
            "redis://h,i",
            "redis://h:0",
        ),
    ),
    ("redis_url", "more than 16 hosts", (f"redis+sentinel://{','.join('h' * 17)}/main",)),
    ("redis_url", "an option that is unknown: sentinel_pw", ("redis+sentinel://h/main?sentinel_pw=x",)),
    (
        "redis_url",
        "names a database: a cluster has only number 0",
        ("redis+cluster://h:1/2", "rediss+cluster://h/1"),
    ),
    ("redis_url", "names more than 16 hosts", ("redis+cluster://" + ",".join(["h"] * 17),)),
    (
        "cors_origins",
        "item 1 has to be an origin",
        ("*", "https://shop.example/pay", "https://me@shop.example"),
    ),
    ("cors_origins", "item 2 has to be an origin", ("https://a,shop.example",)),
    ("trusted_proxies", "item 2 has to be an address or a network", ("10.0.0.0/8,nginx",)),
    ("trusted_proxies", "host bits", ("10.0.0.1/8",)),
    ("data_dir", "home directory", ("~nobody-of-this-name/x",)),
    ("secret_previous", "item 2 has to have at least 32 characters", (f"{SECRET[:-1]},short",)),
    *((name, "", ("-1", "none", "1.5")) for name in BEHAVIOUR),
]


@pytest.mark.parametrize(
    ("name", "text", "words"), [(name, text, words) for name, words, texts in WRONG_FORMS for text in texts]
)
def test_a_wrong_form_is_refused_by_name_and_rule(given: Set, name: str, text: str, words: str) -> None:
    given(**{name: text})

    (line,) = refusal()

    assert line.startswith(f"TECHNOPAY_{name.upper()}: ")
    assert words in line
    assert "Value error" not in line


@pytest.mark.parametrize(
    "name",
    ["secret", "data_dir", "host", "port", "redis_url", "timezone", "log_level", "metrics", "token_issuer",
     "cors_origins", "trusted_proxies", "secret_previous", "settlement", "code_lifetime_s", "secret_file"],
)  # fmt: skip
def test_an_empty_setting_is_refused_by_name(given: Set, name: str) -> None:
    for empty in ("", "  "):
        given(**{name: empty})
        assert refusal() == [f"TECHNOPAY_{name.upper()}: is empty; leave it out for the default"]


def test_an_empty_line_in_the_file_and_an_empty_flag_are_refused_by_name() -> None:
    for flag, name in (("--redis", "redis_url"), ("--data-dir", "data_dir"), ("--host", "host")):
        assert refusal(**{name: ""}) == [f"{flag} is empty; leave it out for the default"]
    for line in ("TECHNOPAY_DATA_DIR=", "TECHNOPAY_DATA_DIR"):
        Path(".env").write_text(line)
        assert refusal() == ["TECHNOPAY_DATA_DIR: is empty; leave it out for the default"]


def test_all_wrong_settings_are_named_at_once(given: Set) -> None:
    given(port="many", secret="short", log_level="loud", timezone="", colour="red")

    assert [line.partition(":")[0] for line in refusal(host="")] == [
        "--host is empty; leave it out for the default",
        "TECHNOPAY_COLOUR", "TECHNOPAY_LOG_LEVEL", "TECHNOPAY_PORT", "TECHNOPAY_SECRET", "TECHNOPAY_TIMEZONE",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("SECRTE", "SECRET"), ("SECRET_PREVIUOS", "SECRET_PREVIOUS"), ("SECRETS_FILE", "SECRET_FILE"),
     ("TOKEN_SECRETS", "TOKEN_SECRET"), ("LOGLEVEL", "LOG_LEVEL"), ("CORS_ORIGIN", "CORS_ORIGINS")],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_nearest_one(given: Set, name: str, nearest: str) -> None:
    given(**{name: SECRET}, service_variables="{}")
    Path(".env").write_text("technopay_zzz=1\n")
    nearest_one = f"TECHNOPAY_{name}: is not a setting; the nearest one is TECHNOPAY_{nearest}"
    others = [f"TECHNOPAY_{other}: is not a setting" for other in ("SERVICE_VARIABLES", "ZZZ")]
    assert refusal() == sorted([nearest_one, *others])


def test_variables_of_kubernetes_for_a_service_of_our_name_are_ignored(given: Set) -> None:
    given(service_host="10.0.0.1", service_port="80", service_port_http="80", port="tcp://10.0.0.1:80",
          port_80_tcp="tcp://10.0.0.1:80", port_80_tcp_proto="tcp", port_80_tcp_addr="10.0.0.1")  # fmt: skip

    assert load_settings().port == 8080


def test_a_factory_owns_the_names_that_begin_with_its_own(given: Set) -> None:
    Path(".env").write_text("TECHNOPAY_SETTLEMENT_TOKEN=t\nTECHNOPAY_SETTLEMENT_URL=file\n")
    given(settlement="bank:make", settlement_url="https://bank", sms="mock")
    settings = load_settings()

    assert settings.variables_of("settlement") == {"URL": "https://bank", "TOKEN": "t"}
    assert settings.variables_of("sms") == {}
    assert "https://bank" not in repr(settings)

    given(sms_key="k", email_key="k")
    assert refusal() == [
        "TECHNOPAY_EMAIL_KEY: is for a factory, and TECHNOPAY_EMAIL names none",
        "TECHNOPAY_SMS_KEY: is for a factory, and TECHNOPAY_SMS names none",
    ]


def test_a_secret_is_read_from_a_file_without_the_new_line_at_its_end(given: Set) -> None:
    given(secret_file="kept", token_secret_file="kept", redis_url_file="url")
    Path("url").write_text("redis://:sesame@h\n")
    for end in ("", "\n", "\r\n", "\n\n"):
        Path("kept").write_bytes(f"{SECRET}{end}".encode())
        settings = load_settings()
        for secret in (settings.secret, settings.token_secret):
            assert secret
            assert secret.get_secret_value() == (f"{SECRET}\n" if end == "\n\n" else SECRET)

    # A server's URL holds a password.
    assert settings.redis_url == "redis://:sesame@h"
    assert "sesame" not in repr(settings)
    assert load_settings(redis_url="redis://flag").redis_url == "redis://flag"


def test_previous_secrets_are_a_list_with_commas_or_in_a_file_with_lines(given: Set) -> None:
    given(secret_previous=f"{OTHER}, {OTHER[:-1]}")
    assert load_settings().previous_secrets == (OTHER, OTHER[:-1])

    Path("kept").write_text(f"{SECRET}\n{OTHER}\n")
    given(token_secret_previous_file="kept")
    assert [each.get_secret_value() for each in load_settings().token_secret_previous] == [SECRET, OTHER]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "kept: No such file"), (b"", "kept: is empty"), (b"\n", "kept: is empty"),
     (b"\xff" * 40, "kept: is not in UTF-8"), (b"x" * 70_000, "kept: is longer than 65536 bytes"),
     (b"short", "has to have at least 32 characters, not 5")],
)  # fmt: skip
def test_a_file_that_holds_no_secret_is_refused_by_name(given: Set, content: bytes | None, words: str) -> None:
    if content is not None:
        Path("kept").write_bytes(content)
    given(secret_file="kept")

    (line,) = refusal()

    assert line.startswith(("TECHNOPAY_SECRET_FILE: ", "TECHNOPAY_SECRET: "))
    assert words in line
    assert "short" not in line


def test_a_secret_and_its_file_exclude_each_other(given: Set) -> None:
    Path("kept").write_text(SECRET)
    Path(".env").write_text("TECHNOPAY_SECRET_FILE=kept\n")
    given(secret=SECRET)

    assert refusal() == ["TECHNOPAY_SECRET_FILE: is set, and TECHNOPAY_SECRET as well; leave one out"]


def test_a_secret_is_needed_where_money_is_real_and_is_never_shown(given: Set) -> None:
    with pytest.raises(ConfigurationError, match="TECHNOPAY_SECRET is not set"):
        load_settings().require_secret()

    given(secret=SECRET)
    assert load_settings().require_secret() == SECRET
    assert SECRET not in repr(load_settings())


def test_a_demo_keeps_a_secret_of_its_own_in_its_data_directory_unless_one_is_set(given: Set) -> None:
    data = Path("data")
    data.mkdir()
    (data / "demo-secret.new").write_text("half")  # was cut off
    settings = load_settings(data_dir=data)

    secret = settings.demo_secret()

    assert len(secret) >= 32
    assert settings.demo_secret() == secret
    assert stat.S_IMODE((data / "demo-secret").stat().st_mode) == 0o600
    given(secret=SECRET)
    assert load_settings(data_dir=Path("other")).demo_secret() == SECRET
    assert not Path("other").exists()


def test_a_demo_secret_that_others_could_have_put_there_is_refused() -> None:
    settings = load_settings(data_dir=Path("data"))
    settings.demo_secret()
    kept = Path("data/demo-secret")

    kept.chmod(0o644)
    with pytest.raises(StoreUnfit, match="demo-secret has to be a file with mode 600"):
        settings.demo_secret()
    kept.chmod(0o600)
    kept.write_text("")
    with pytest.raises(ConfigurationError, match="demo-secret holds no secret"):
        settings.demo_secret()


def test_the_embedded_store_has_no_replicas_to_wait_for(given: Set) -> None:
    given(wait_replicas="1", wait_ms="50")
    with pytest.raises(ConfigurationError, match="TECHNOPAY_WAIT_REPLICAS: the embedded store has no replicas"):
        make_store(load_settings(), initialise=False, demo=False)

    store = make_store(load_settings(redis_url="redis://server"), initialise=False, demo=False)
    assert (store._options.wait_replicas, store._options.wait_ms) == (1, 50)
