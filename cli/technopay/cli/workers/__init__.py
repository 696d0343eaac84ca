"""`serve --workers N`: several processes on one port and one store, and the one that looks after them."""
