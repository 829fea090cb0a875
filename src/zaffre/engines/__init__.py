"""Engines: a file or folder each, imported only inside a worker."""
