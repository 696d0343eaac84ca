"""Settings: a flag before the environment before `.env` before the default."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support.fixtures.engine_setup import SECRET

from technopay.cli.settings import ConfigurationError, UsageError, load_settings
from technopay.engine import StoreUnfit


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty directory and an environment without settings of ours."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith("TECHNOPAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path


def test_the_defaults_are_the_contracts(place: Path) -> None:
    settings = load_settings()

    assert settings.redis_url is None
    assert settings.secret is None
    assert settings.data_dir == place / "share" / "technopay"
    assert (settings.timezone, settings.code_lifetime_s, settings.durability) == ("UTC", 300, "always")
    assert (settings.codes_per_hour, settings.confirms_per_minute, settings.failures_per_day) == (5, 5, 10)
    assert (settings.token_algorithm, settings.token_issuer, settings.token_audience) == ("HS256", None, None)
    assert (settings.connections_max, settings.requests_max) == (1_000, 1_000)
    assert (settings.host, settings.port, settings.workers, settings.keepalive_s) == ("127.0.0.1", 8080, 1, 75)
    assert (settings.secret_previous, settings.token_secret_previous) == ((), ())
    assert (settings.cors_origins, settings.trusted_proxies) == ((), ())
    assert (settings.settlement, settings.email, settings.sms, settings.verifier) == (None,) * 4


def test_the_data_is_in_the_home_directory_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/alice")

    assert load_settings().data_dir == Path("/home/alice/.local/share/technopay")


def test_a_flag_goes_before_the_environment_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("TECHNOPAY_REDIS_URL=redis://file\nTECHNOPAY_TIMEZONE=Europe/Berlin\n")
    assert load_settings().redis_url == "redis://file"

    monkeypatch.setenv("TECHNOPAY_REDIS_URL", "redis://environment")
    assert load_settings().redis_url == "redis://environment"
    assert load_settings().timezone == "Europe/Berlin"

    assert load_settings(redis_url="redis://flag").redis_url == "redis://flag"


@pytest.mark.parametrize("name", ["CODES_PER_HOUR", "CONFIRMS_PER_MINUTE", "FAILURES_PER_DAY"])
def test_a_limit_on_behaviour_is_a_number_and_zero_lifts_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for given in (0, 7):
        monkeypatch.setenv(f"TECHNOPAY_{name}", str(given))
        assert getattr(load_settings(), name.lower()) == given
    for wrong in ("-1", "none", "1.5"):
        monkeypatch.setenv(f"TECHNOPAY_{name}", wrong)
        with pytest.raises(ConfigurationError, match=rf"^TECHNOPAY_{name}: "):
            load_settings()


def test_a_data_directory_as_a_flag_means_the_embedded_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TECHNOPAY_REDIS_URL", "redis://environment")
    monkeypatch.setenv("TECHNOPAY_DATA_DIR", "environment")

    settings = load_settings(data_dir=Path("flag"))

    assert (settings.redis_url, settings.data_dir) == (None, Path("flag"))


def test_other_variables_in_the_file_are_ignored() -> None:
    Path(".env").write_text("DATABASE_URL=x\nTECHNO=1\n")

    assert load_settings().redis_url is None


def test_a_file_that_is_no_text_is_named() -> None:
    Path(".env").write_bytes(b"TECHNOPAY_SECRET=\xff\xfe")

    with pytest.raises(ConfigurationError, match=r"\.env"):
        load_settings()


def test_a_wrong_flag_is_named_as_a_flag_and_a_wrong_setting_as_a_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match=r"^--redis "):
        load_settings(redis_url="localhost")
    monkeypatch.setenv("TECHNOPAY_REDIS_URL", "localhost")
    with pytest.raises(ConfigurationError, match=r"^TECHNOPAY_REDIS_URL: "):
        load_settings()


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://:pw@h:6379/1", "rediss://h:1", "unix:///run/valkey.sock", "redis://[::1]:6379"],
)
def test_urls_of_servers_are_taken(url: str) -> None:
    assert load_settings(redis_url=url).redis_url == url


def test_a_secret_is_needed_where_money_is_real_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="TECHNOPAY_SECRET is not set"):
        load_settings().require_secret()

    monkeypatch.setenv("TECHNOPAY_SECRET", SECRET)
    assert load_settings().require_secret() == SECRET
    assert SECRET not in repr(load_settings())


def test_a_demo_keeps_a_secret_of_its_own_in_its_data_directory(place: Path) -> None:
    settings = load_settings(data_dir=place / "data")

    secret = settings.demo_secret()

    assert len(secret) >= 32
    assert settings.demo_secret() == secret
    (kept,) = (place / "data").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_demo_uses_the_secret_that_is_set(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setenv("TECHNOPAY_SECRET", SECRET)

    assert load_settings(data_dir=place / "data").demo_secret() == SECRET
    assert not (place / "data").exists()


def test_a_demo_secret_that_others_could_have_put_there_is_not_taken(place: Path) -> None:
    settings = load_settings(data_dir=place / "data")
    settings.demo_secret()
    kept = place / "data" / "demo-secret"

    kept.chmod(0o644)
    with pytest.raises(StoreUnfit, match="demo-secret has to be a file with mode 600"):
        settings.demo_secret()
    kept.chmod(0o600)
    kept.write_text("")
    with pytest.raises(ConfigurationError, match="demo-secret holds no secret"):
        settings.demo_secret()


def test_a_demo_secret_that_was_cut_off_while_it_was_written_does_no_harm(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data" / "demo-secret.new").write_text("half")

    assert len(load_settings(data_dir=place / "data").demo_secret()) >= 32
