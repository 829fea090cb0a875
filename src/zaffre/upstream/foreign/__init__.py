"""Other people's servers: what they are asked in their dialect, and what their answers mean."""
