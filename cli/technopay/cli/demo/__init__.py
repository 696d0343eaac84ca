"""`technopay demo`: demo data, a guide to it, and one purchase."""
