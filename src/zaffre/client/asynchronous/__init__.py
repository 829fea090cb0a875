"""The asynchronous client, written by hand; `zaffre.client.synchronous` is generated from it."""
