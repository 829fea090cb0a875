"""The use cases. From here on there is no HTTP and no JSON."""
