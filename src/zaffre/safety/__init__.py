"""Safety: filters for prompts and answers, and the screen that applies them."""
