"""Requests with release rounds: the optimum and the fluid, by brute force.

Plain Python, slow and obvious: oracles that share no code with the package. Every function takes
lists of the real requests only.
"""

from __future__ import annotations

from fractions import Fraction


def least_flow_time(prompt, output, release, capacity):
    """Least sum of completions less releases, by trying every start of one request after another.

    Some best schedule is done by the last release and the sum of outputs. Starts that leave no
    hope of less than the best so far are passed over.
    """
    horizon = max(release) + sum(output)
    held = [0] * (horizon + 1)
    best = None

    def place(i, total):
        nonlocal best
        if i == len(prompt):
            best = total
            return
        for start in range(release[i], horizon - output[i] + 1):
            with_this = total + start - release[i] + output[i]
            if best is not None and with_this + sum(output[i + 1 :]) >= best:
                return
            rounds = range(start + 1, start + output[i] + 1)
            if all(held[t] + prompt[i] + t - start <= capacity for t in rounds):
                for t in rounds:
                    held[t] += prompt[i] + t - start
                place(i + 1, with_this)
                for t in rounds:
                    held[t] -= prompt[i] + t - start

    place(0, 0)
    return best


def mean_busy_bound(prompt, output, release, capacity):
    """Serve volumes as a fluid, always the smallest that is released, and add up the claim."""
    total, volumes = Fraction(0), []
    for s, o in zip(prompt, output, strict=True):
        held = [s + u for u in range(1, o + 1)]
        volumes.append(sum(held))
        mean = sum(h * Fraction(2 * u - 1, 2) for u, h in enumerate(held, 1)) / volumes[-1]
        total += o - mean  # from the mean busy time to the completion
    left, time = [Fraction(v) for v in volumes], Fraction(0)
    while any(left):
        released = [i for i, v in enumerate(left) if v and release[i] <= time]
        later = [a for i, a in enumerate(release) if left[i] and a > time]
        if not released:
            time = Fraction(min(later))
            continue
        i = min(released, key=lambda i: volumes[i])
        until = min([time + left[i] / capacity, *map(Fraction, later)])
        served = (until - time) * capacity
        total += served * (time + until) / 2 / volumes[i]  # its part of the mean busy time
        left[i] -= served
        time = until
    return total - sum(release)
