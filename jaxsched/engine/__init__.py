"""From decisions to outcomes."""
