"""Sends events to the endpoints of webhooks, by aiohttp."""

from technopay.http.webhooks.sender import HttpWebhookSender

__all__ = ["HttpWebhookSender"]
