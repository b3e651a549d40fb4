"""The highest rate, the fewest servers or the least memory within targets."""
