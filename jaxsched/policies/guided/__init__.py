"""Rules that follow a bound or a relaxation."""
