"""The operations of an operator, by noun, which need a token with the scope `admin`."""
