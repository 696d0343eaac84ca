"""`serve --workers N`: several processes on one port and one store, and the parent that supervises them."""
