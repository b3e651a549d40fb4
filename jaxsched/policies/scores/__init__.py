"""Rules that give each request a number by itself."""
