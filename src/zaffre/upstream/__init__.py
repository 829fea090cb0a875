"""The gateway's side of every model: one HTTP client for workers and foreign servers alike."""
