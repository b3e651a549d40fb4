"""The least memory, or the fewest servers, that meets a target."""
