from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from technopay.engine.keyed_hash import BLOCK_BYTES, KeyedHash


@given(st.binary(max_size=3 * BLOCK_BYTES), st.binary(max_size=300))
def test_a_digest_is_the_hmac_of_the_standard_library(key: bytes, message: bytes) -> None:
    assert KeyedHash(key).digest(message) == hmac.digest(key, message, hashlib.sha256)


def test_a_digest_is_that_of_the_test_vectors() -> None:
    """RFC 4231, test cases 1 and 6."""
    short, long = KeyedHash(b"\x0b" * 20), KeyedHash(b"\xaa" * 131)
    assert short.digest(b"Hi There").hex().startswith("b0344c61d8db38535ca8afceaf0bf12b")
    assert (
        long.digest(b"Test Using Larger Than Block-Size Key - Hash Key First")
        .hex()
        .startswith("60e431591ee0b67f0d8a26aacbf5b77f")
    )
