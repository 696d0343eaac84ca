"""Sign-in: tokens and the keys that sign them, and the origins of browsers."""
