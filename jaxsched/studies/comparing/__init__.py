"""Rules side by side on the same backlogs."""
