"""A queue that a rule orders anew in every step: the third kind, of the general kernel.

``crowd`` holds who is at the server and the rule's numbers, ``asking`` has the rule give them,
``room`` lets those in front push out those who run, and ``remembering`` keeps the rule's state.
"""
