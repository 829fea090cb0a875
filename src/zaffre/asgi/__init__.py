"""What gateway and worker share of serving HTTP: bodies, answers, streams, disconnects."""
