"""The connection to a Redis or Valkey server: client, gate, health checks, and the embedded server."""
