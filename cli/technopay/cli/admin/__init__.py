"""`technopay admin`: the operations of an operator, against a running server."""
