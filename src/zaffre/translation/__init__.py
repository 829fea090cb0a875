"""Translation between the wire's structs and the core's vocabulary, both ways.

The dialects and the worker read requests through it, the upstream client writes them; answers take
the opposite way. Keeping both directions side by side makes each the other's test.
"""
