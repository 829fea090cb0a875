"""Who calls: keys and principals."""
