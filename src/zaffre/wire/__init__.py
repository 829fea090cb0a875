"""What the bytes mean: structs, codec and event framing. Knows nothing of Zaffre's core."""
