"""Rules side by side at one server."""
