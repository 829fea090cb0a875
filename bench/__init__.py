"""The benchmarks: `scripts/bench`. Each figure comes from interleaved rounds on one machine."""
