"""Keys of tokens: their number, kind and length, and the problems of wrong ones."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.fixtures.engine_setup import SECRET

from technopay.http.auth.signing_keys import read_public_keys, require_keys
from technopay.http.auth.tokens import TokenSigner

RSA = rsa.generate_private_key(65_537, 2_048)
SHORT = rsa.generate_private_key(65_537, 1_024)
CURVE, OTHER_CURVE = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def public(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", CURVE)], ids=["RS256", "ES256"])
def test_one_or_two_public_keys_are_read(algorithm: Any, key: Any) -> None:
    assert read_public_keys(public(key), algorithm) == (key.public_key(),)
    both = b"the one of before\n" + public(key) + b"\nand the one of now\n" + public(key)
    assert len(read_public_keys(both, algorithm)) == 2


def broken(pem: bytes) -> bytes:
    return pem.replace(b"\nM", b"\nN", 1)


WRONG: list[tuple[Any, bytes, str]] = [
    ("RS256", b"", "1 to 16 keys, not 0"),
    ("RS256", b"\xff\xfe no words", "1 to 16 keys, not 0"),
    ("RS256", public(RSA) * 17, "1 to 16 keys, not 17"),
    ("RS256", private(RSA), "a private key"),
    ("RS256", public(RSA) + private(RSA), "a private key"),
    ("ES256", private(CURVE), "a private key"),
    ("RS256", public(CURVE), "RS256 needs a public RSA key"),
    ("RS256", public(RSA) + public(CURVE), "RS256 needs a public RSA key"),
    ("RS256", public(SHORT), "at least 2048 bits, not 1024"),
    ("ES256", public(RSA), "ES256 needs a public key on the curve P-256"),
    ("ES256", public(OTHER_CURVE), "the curve P-256"),
    ("ES256", public(EDWARDS), "the curve P-256"),
    ("RS256", broken(public(RSA)), "not a readable public key"),
    ("RS256", b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n", "CERTIFICATE in it"),
]


@pytest.mark.parametrize(("algorithm", "pem", "problem"), WRONG, ids=range(len(WRONG)))
def test_a_key_of_another_kind_is_refused_with_its_problem(algorithm: Any, pem: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_public_keys(pem, algorithm)


def test_a_secret_has_to_be_long_and_no_key_of_another_kind() -> None:
    assert require_keys([SECRET, "ü" * 16], "HS256") == (SECRET, "ü" * 16)
    for secret, problem in (("s" * 31, "32 bytes"), (public(RSA).decode(), "a key of another algorithm")):
        with pytest.raises(ValueError, match=problem):
            TokenSigner(secret)
    for keys in ([], [SECRET] * 17, [RSA.public_key()]):
        with pytest.raises(ValueError, match=r"1 to 16 keys|needs a secret"):
            require_keys(keys, "HS256")
