"""Rules for requests that arrive over time: by age, deadline, attained service and fair share."""
