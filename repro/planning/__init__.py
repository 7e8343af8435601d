"""Which runs are missing, which value a search chooses, and what the rest costs."""
