"""Zaffre's own vocabulary: calls, deltas, capabilities, errors. Knows no HTTP and no JSON."""
