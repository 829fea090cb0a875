"""A small issuer of tokens for development: whoever reaches it gets what they ask for."""
