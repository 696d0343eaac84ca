"""The names of references, and the digests of those that were used for good."""

import hashlib

DIGEST_BYTES = 16


def referred_as(merchant: str, reference: str) -> str:
    """Return the name of a reference, see shared/reference.lua."""
    return f"{len(merchant.encode())}:{merchant}{reference}"


def reference_digest(key: bytes, referred: str) -> str:
    """Return the digest of the name of a reference, see shared/used_references.lua."""
    return hashlib.blake2b(referred.encode(), key=key, digest_size=DIGEST_BYTES).hexdigest()
