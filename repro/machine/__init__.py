"""What a run ran on: provenance, memory settings, and where compiled loops are kept."""
