"""The backlog of round 0: strict order and earliest fit, exact to the round."""
