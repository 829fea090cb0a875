"""Routing: which deployment and which replica answer a call."""
