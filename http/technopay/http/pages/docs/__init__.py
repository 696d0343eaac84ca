"""The page at `/docs`."""
