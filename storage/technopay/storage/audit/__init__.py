"""The audit: recomputes everything from the journal, and compares."""

from technopay.storage.audit.audit import AuditScripts

__all__ = ["AuditScripts"]
