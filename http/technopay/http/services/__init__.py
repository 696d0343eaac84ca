"""Adapters to services behind HTTP: requests in one plain, signed protocol (docs/services.md)."""
