"""The general kernel: every setting and option, one running request after another.

One iteration is one step of every stream. Pass 1 is a loop over rows, which hold the running
requests in order of admission, streams in the lanes; so is what follows from it, row by row or
block by block. Nothing is skipped, and nothing is assumed of who computes what in a step.
"""
