"""Questions asked of many backlogs."""
