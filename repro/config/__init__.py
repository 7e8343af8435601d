"""The Config: everything that a run's numbers depend on, its presets, and the arithmetic of its network."""
