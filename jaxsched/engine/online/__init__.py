"""The online engine: requests arrive over time, a server works them off in steps."""
