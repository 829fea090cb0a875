"""Models on this machine: what can be had, what is here, how it gets here, and who runs it."""
