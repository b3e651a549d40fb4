"""From decisions to outcomes: the simulators."""
