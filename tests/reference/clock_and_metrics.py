"""The clock, the metrics and the volume bound as loops over requests and rounds, one instance.

Plain Python, slow and obvious: an oracle that shares no code with the package. Every function
takes lists of the real requests only.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product


def completions(output, start):
    return [p + o for p, o in zip(start, output, strict=True)]


def tokens_held(prompt, output, start, t):
    """Tokens held in round t."""
    held = 0
    for s, o, p in zip(prompt, output, start, strict=True):
        if p < t <= p + o:
            held += s + t - p
    return held


def kv_profile(prompt, output, start, num_rounds):
    return [tokens_held(prompt, output, start, t) for t in range(1, num_rounds + 1)]


def iteration_ms(clock, prompt, output, start, t):
    """Cost of round t by the definition: a + b P + c B + d KV + e Q, or 0 when idle."""
    a, b, c, d, e = clock
    cost, is_busy = 0.0, False
    for s, o, p in zip(prompt, output, start, strict=True):
        if t == p + 1:
            is_busy = True
            cost += b * s + e * s * s
        elif p + 2 <= t <= p + o:
            is_busy = True
            cost += c + d * (s + t - p)
    return a + cost if is_busy else 0.0


def elapsed_s(clock, prompt, output, start, last_round):
    """Seconds at the end of each round 0 .. last_round."""
    elapsed = [0.0]
    for t in range(1, last_round + 1):
        elapsed.append(elapsed[-1] + iteration_ms(clock, prompt, output, start, t) / 1000.0)
    return elapsed


def percentile(values, q):
    """Linear interpolation between order statistics, as numpy does by default."""
    ordered = sorted(values)
    position = Fraction(q, 100) * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    weight = float(position - below)
    return (1 - weight) * ordered[below] + weight * ordered[above]


def summary(prompt, output, start, clock=None, deadline_s=None):
    n = len(prompt)
    latency = completions(output, start)
    first_token = [p + 1 for p in start]
    slowdown = [latency[i] / output[i] for i in range(n)]
    makespan = max(latency)
    profile = kv_profile(prompt, output, start, makespan)
    result = {
        **_latency_statistics(latency, "rounds"),
        "mean_ttft_rounds": sum(first_token) / n,
        "p99_ttft_rounds": percentile(first_token, 99),
        "mean_slowdown": sum(slowdown) / n,
        "p99_slowdown": percentile(slowdown, 99),
        "makespan_rounds": makespan,
        "peak_kv_tokens": max(profile),
        "mean_kv_tokens": sum(profile) / makespan,
        "throughput_tokens_per_round": sum(output) / makespan,
    }
    if clock is None:
        return result
    elapsed = elapsed_s(clock, prompt, output, start, makespan)
    latency_s = [elapsed[c] for c in latency]
    first_token_s = [elapsed[t] for t in first_token]
    result |= {
        **_latency_statistics(latency_s, "s"),
        "mean_ttft_s": sum(first_token_s) / n,
        "p99_ttft_s": percentile(first_token_s, 99),
        "makespan_s": elapsed[makespan],
        "throughput_tokens_per_s": sum(output) / elapsed[makespan],
    }
    if deadline_s is not None:
        result["share_within_deadline"] = sum(value <= deadline_s for value in latency_s) / n
    return result


def _latency_statistics(latency, unit):
    return {
        f"total_latency_{unit}": sum(latency),
        f"mean_latency_{unit}": sum(latency) / len(latency),
        **{f"p{q}_latency_{unit}": percentile(latency, q) for q in (50, 90, 95, 99)},
        f"max_latency_{unit}": max(latency),
    }


def volume_bound(prompt, output, capacity):
    volumes = sorted(
        sum(s + k for k in range(1, o + 1)) for s, o in zip(prompt, output, strict=True)
    )
    bound = 0
    for j, shortest in enumerate(sorted(output)):
        bound += max(math.ceil(Fraction(sum(volumes[: j + 1]), capacity)), shortest)
    return bound


def least_total_latency(prompt, output, capacity):
    """The optimum, by trying every vector of starts; sum(output) rounds are always enough."""
    horizon = sum(output)
    latest = [range(horizon - o + 1) for o in output]
    best = None
    for start in product(*latest):
        total = sum(start) + sum(output)
        if best is not None and total >= best:
            continue
        ends = completions(output, start)
        if all(tokens_held(prompt, output, start, t) <= capacity for t in ends):
            best = total
    return best
