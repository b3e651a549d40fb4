"""Text, tables, pictures and traces for other programs."""
