"""The server: sockets, connections and their limits."""
