import pytest

from technopay.engine.notifications.smtp_settings import SmtpServer, parse_sender, sender_error, smtp_url_error


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 587, "starttls")),
        ("smtp://mail.example:25/", SmtpServer("mail.example", 25, "starttls")),
        ("smtp://mail.example?tls=starttls", SmtpServer("mail.example", 587, "starttls")),
        ("smtp://mail.example?tls=none", SmtpServer("mail.example", 587, "none")),
        ("smtps://mail.example", SmtpServer("mail.example", 465, "at_once")),
        ("SMTPS://Mail.Example:4650", SmtpServer("mail.example", 4650, "at_once")),
        ("smtp://localhost:1025", SmtpServer("localhost", 1025, "none")),
        ("smtp://127.0.0.9:1025", SmtpServer("127.0.0.9", 1025, "none")),
        ("smtp://[::1]", SmtpServer("::1", 587, "none")),
        ("smtp://[::1]?tls=starttls", SmtpServer("::1", 587, "starttls")),
        ("smtp://a:b@localhost", SmtpServer("localhost", 587, "none", "a", "b")),
        ("smtps://us%25er%40shop:p%3Aw%2Fd@h", SmtpServer("h", 465, "at_once", "us%er@shop", "p:w/d")),
    ],
)
def test_a_url_names_server_sign_in_and_tls(url: str, server: SmtpServer) -> None:
    assert SmtpServer.of(url) == server
    assert smtp_url_error(url) is None


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "has to be like smtp://"),
        ("mail.example:587", "has to be like smtp://"),
        ("https://mail.example", "has to be like smtp://"),
        ("smtp://", "has to be like smtp://"),
        ("smtp://:587", "has to be like smtp://"),
        ("smtp://mail.example:0", "has to be like smtp://"),
        ("smtp://mail.example:70000", "has to be like smtp://"),
        ("smtp://mail example", "has to be like smtp://"),
        ("smtp://mail.example/path", "has to be like smtp://"),
        ("smtp://mail.example#part", "has to be like smtp://"),
        ("smtp://alice@mail.example", "has to be like smtp://"),
        ("smtp://alice:@mail.example", "has to be like smtp://"),
        ("smtp://:hush@mail.example", "has to be like smtp://"),
        ("smtp://alice:hu/sh@mail.example", "has to be like smtp://"),
        ("smtp://alice:hu%0Ash@mail.example", "has to be like smtp://"),
        ("smtp://[alice:hush@mail.example", "has to be like smtp://"),
        ("smtp://mail.example?tls=maybe", "can have one parameter"),
        ("smtp://mail.example?tls=", "can have one parameter"),
        ("smtp://mail.example?tls=none&tls=none", "can have one parameter"),
        ("smtp://mail.example?tsl=none", "can have one parameter"),
        ("smtp://mail.example?tls=none&verify=no", "can have one parameter"),
        ("smtps://mail.example?tls=none", "can have one parameter"),
        ("smtp://alice:hush@mail.example?tls=none", "has to have TLS"),
    ],
)
def test_a_url_that_is_wrong_is_refused_by_its_rule_and_never_shown(url: str, rule: str) -> None:
    error = smtp_url_error(url)

    assert error
    assert error.startswith(rule)
    assert "alice" not in error
    assert "hu" not in error


def test_a_password_is_not_in_the_text_of_a_server() -> None:
    assert "hush" not in repr(SmtpServer.of("smtps://alice:hush@mail.example"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay@shop.example", "pay@shop.example"),
        ("Shop <pay@shop.example>", "Shop <pay@shop.example>"),
        ("Café Central <pay@shop.example>", "Café Central <pay@shop.example>"),
        ('"Shop, Ltd." <pay@shop.example>', '"Shop, Ltd." <pay@shop.example>'),
        ("Shop, Ltd. <pay@shop.example>", '"Shop, Ltd." <pay@shop.example>'),
        ("<pay@shop.example>", "pay@shop.example"),
        ("pay@fußball.example", "pay@xn--fuball-cta.example"),
    ],
)
def test_a_sender_is_an_address_with_or_without_a_name(text: str, shown: str) -> None:
    assert str(parse_sender(text)) == shown
    assert sender_error(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "shop", "Shop", "pay@", "@shop.example", "Shop <pay@shop.example", "pay@shop.example, b@c.example",
        "Shop <a@b.example> <c@d.example>", "Shop\r\nBcc: eve@evil.example <pay@shop.example>",
        "Shop <pay@shop.example>\nBcc: eve@evil.example", "käse@shop.example", "Shop <pay@shop example>",
        "=?utf-8?q?Shop=0D=0ABcc:_eve?= <pay@shop.example>",
    ],
)  # fmt: skip
def test_a_sender_that_is_no_address_is_refused(text: str) -> None:
    error = sender_error(text)

    assert error
    assert error.startswith("has to be an address like")
