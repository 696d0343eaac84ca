"""The URLs and addresses that a webhook may have."""

from ipaddress import ip_address

import pytest

from technopay.engine.webhooks.addresses import is_public, url_error

PRIVATE = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.1.2.3",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.168.1.1", "192.0.2.1", "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
    "2002:7f00:1::", "2001:0:1::1", "2001:db8::1", "fc00::1", "fd12:3456::1", "fe80::1", "febf::1", "fec0::1",
    "ff02::1", "ff0e::1", "fe80::1%eth0",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "192.169.0.1", "2606:4700::1111")


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert url_error(f"https://{host}/", "refuse"), address


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_is_allowed(address: str) -> None:
    assert is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert url_error(f"https://{host}:8443/a?b=c", "refuse") is None


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "https:///a", "http://example.com/", "ftp://example.com/", "//example.com/",
        "example.com", "https://user@example.com/", "https://user:word@example.com/", "https://@example.com/",
        "https://example.com./", "https://example..com/", "https://-example.com/", "https://exa mple.com/",
        "https://bücher.example/", "https://example.com/\n", "https://example.com/#part", "https://example.com\\@a/",
        "https://example.com:0/", "https://example.com:65536/", "https://example.com:x/", "https://example.com:/",
        "https://[::1", "https://[example.com]/", "https://[v1.a]/", "https://localhost/", "https://a.localhost/",
        "https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://0177.0.0.1/", "https://1.2.3.0x4/",
        "https://[fe80::1%25eth0]/", f"https://example.com/{'a' * 2_048}", f"https://{'a.' * 130}com/",
    ],
)  # fmt: skip
def test_any_other_url_is_refused(url: str) -> None:
    assert url_error(url, "refuse")


def test_private_addresses_and_http_are_allowed_by_a_setting() -> None:
    for url in ("http://127.0.0.1:8000/a", "https://10.0.0.1/", "http://localhost:9000/", "http://[::1]/"):
        assert url_error(url, "refuse")
        assert url_error(url, "allow") is None
    for url in ("http://user@localhost/", "ftp://localhost/", "http://[fe80::1%25eth0]/"):
        assert url_error(url, "allow"), url
