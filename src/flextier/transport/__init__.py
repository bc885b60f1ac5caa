"""HTTP clients: keep-alive, the time limit of an attempt, streams."""

from flextier.transport.http_clients import async_http_client, sync_http_client

__all__ = ["async_http_client", "sync_http_client"]
