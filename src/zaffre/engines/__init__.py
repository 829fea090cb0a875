"""Engines: one file per engine, imported only inside a worker."""
