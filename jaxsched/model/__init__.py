"""The nouns: instances, schedules, the clock, and the independent judge of feasibility."""
