"""Keys of token signatures: the rules for them, and public keys from a PEM file."""

import re
from collections.abc import Sequence
from typing import Literal

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

Algorithm = Literal["HS256", "RS256", "ES256"]
Key = str | RSAPublicKey | EllipticCurvePublicKey
"""A secret for HS256; a public key for the other two."""

HS256: Algorithm = "HS256"
KEYS_MAX = 16
SECRET_BYTES_MIN = 32
RSA_BITS_MIN = 2048
KINDS: dict[str, tuple[type, str]] = {
    "HS256": (str, "a secret"),
    "RS256": (RSAPublicKey, "a public RSA key"),
    "ES256": (EllipticCurvePublicKey, "a public key on the curve P-256"),
}
PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


def require_keys(keys: Sequence[Key], algorithm: Algorithm) -> tuple[Key, ...]:
    """Return the keys, or raise ValueError with the rule that they break, never with a key."""
    if not 1 <= len(keys) <= KEYS_MAX:
        raise ValueError(f"there must be 1 to {KEYS_MAX} keys, not {len(keys)}")
    for key in keys:
        _require_key(key, algorithm)
    return tuple(keys)


def read_public_keys(pem: bytes, algorithm: Algorithm) -> tuple[Key, ...]:
    """Read public keys from PEM, or raise ValueError with the rule that they break."""
    found = list(PEM.finditer(pem))
    if any(b"PRIVATE" in each[1] for each in found):
        raise ValueError("it contains a private key, which only the issuer may have; use the public key")
    keys = []
    for each in found:
        try:
            keys.append(load_pem_public_key(each[0]))
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(f"{each[1].decode()} in it is not a readable public key") from None
    # Keys of another kind are refused there.
    return require_keys(keys, algorithm)  # type: ignore[arg-type]


def _require_key(key: Key, algorithm: Algorithm) -> None:
    kind, name = KINDS[algorithm]
    is_on_another_curve = isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1)
    if not isinstance(key, kind) or is_on_another_curve:
        raise ValueError(f"{algorithm} needs {name}")
    if isinstance(key, str):
        if len(key.encode()) < SECRET_BYTES_MIN:
            raise ValueError(f"a secret must be at least {SECRET_BYTES_MIN} bytes long")
        try:
            jwt.get_algorithm_by_name(HS256).prepare_key(key)
        except jwt.InvalidKeyError:
            raise ValueError("a secret must not be a key of another algorithm") from None
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise ValueError(f"an RSA key must have at least {RSA_BITS_MIN} bits, not {key.key_size}")
