"""Rules that form batches: Sorted-F and its kin."""
