"""`technopay load`: concurrent purchases against a running server."""
