"""The worker: one small ASGI process around one engine."""
