"""The client of the service: `from ritmo.client import Client`. It imports httpx and nothing of the service."""
