"""technopay over HTTP: an aiohttp application for the engine, and a client for other programs."""
