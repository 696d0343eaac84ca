import base64

import pytest

from technopay.http.services.endpoint import service_secret_error, service_url_error


@pytest.mark.parametrize(
    "url",
    [
        "https://bank.example", "https://bank.example/", "HTTPS://bank.example:8443/technopay/v1",
        "http://localhost:8099", "http://127.0.0.1:8099/x", "http://[::1]:8099",
    ],
)  # fmt: skip
def test_a_service_has_https_or_is_on_this_machine(url: str) -> None:
    assert service_url_error(url) is None


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "has to be like https://"),
        ("bank.example", "has to be like https://"),
        ("ftp://bank.example", "has to be like https://"),
        ("https://", "has to be like https://"),
        ("https://bank.example:0", "has to be like https://"),
        ("https://bank.example:x", "has to be like https://"),
        ("https://[bank", "has to be like https://"),
        ("https://alice:hush@bank.example", "has to be like https://"),
        ("https://bank.example?key=hush", "has to be like https://"),
        ("https://bank.example#hush", "has to be like https://"),
        ("https://bank.example/\r\nX: 1", "has to be like https://"),
        ("https://bank.example/a b", "has to be like https://"),
        ("http://bank.example", "has to begin with https://"),
        ("http://10.0.0.1:8099", "has to begin with https://"),
        ("http://localhost.example", "has to begin with https://"),
    ],
)
def test_any_other_url_is_refused_by_its_rule_and_not_shown(url: str, rule: str) -> None:
    error = service_url_error(url)

    assert error
    assert error.startswith(rule)
    assert "hush" not in error


def test_a_secret_has_the_form_of_standard_webhooks() -> None:
    def secret(length: int) -> str:
        return f"whsec_{base64.b64encode(b'x' * length).decode()}"

    assert [length for length in (0, 23, 24, 32, 64, 65) if service_secret_error(secret(length)) is None] == [
        24, 32, 64,
    ]  # fmt: skip
    for wrong in (
        "",
        "whsec_",
        secret(32)[6:],
        secret(32).upper(),
        f"{secret(32)}\n",
        "whsec_!?",
        "whsec_é" * 9,
    ):
        error = service_secret_error(wrong)
        assert error
        assert error.startswith("has to be whsec_ and 24 to 64 random bytes in Base64; python3 -c 'import ")
