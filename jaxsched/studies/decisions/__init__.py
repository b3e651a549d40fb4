"""From a log to a decision: what a server takes, and which settings and order would give more."""
