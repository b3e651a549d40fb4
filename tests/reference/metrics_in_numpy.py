"""Usage, clock, metrics, verdicts and bounds by numpy: orders that are followed, masks of NaN.

Slower than the package and written another way, for whole batches ``[rows, n]`` of numbers as
large as int32 allows, which the loops of ``clock_and_metrics`` cannot count. Lengths, starts and
completions are numpy arrays; ``real`` marks what is no padding.
"""

from __future__ import annotations

import numpy as np

PERCENTS = (50, 90, 95, 99)


def usage(prompt, start, completion, real):
    """Time, base and slope of each piece: rounds after ``time`` hold ``base + slope round``."""
    times = np.concatenate([start, completion], axis=-1).astype(np.int64)
    order = np.argsort(times, axis=-1, kind="stable")

    def running_total(at_start, at_completion):
        changes = np.concatenate([at_start, at_completion], axis=-1)
        return np.cumsum(np.take_along_axis(changes, order, axis=-1), axis=-1)

    offset = np.where(real, prompt.astype(np.int64) - start, 0)
    count = real.astype(np.int64)
    time = np.take_along_axis(times, order, axis=-1)
    base, slope = running_total(offset, -offset), running_total(count, -count)
    return time, base, slope, running_total


def peak(prompt, start, completion, real):
    time, base, slope, _ = usage(prompt, start, completion, real)
    end = np.concatenate([time[:, 1:], time[:, -1:]], axis=-1)
    return np.where(end > time, base + slope * end, 0).max(axis=-1)


def verdict(prompt, start, completion, real, capacity):
    """Whether it fits, the first round that does not, and its tokens."""
    time, base, slope, _ = usage(prompt, start, completion, real)
    end = np.concatenate([time[:, 1:], time[:, -1:]], axis=-1)
    capacity = capacity.astype(np.int64)
    is_over = (end > time) & (base + slope * end > capacity[:, None])
    row, first = np.arange(len(time)), np.argmax(is_over, axis=-1)
    begin, base, slope = time[row, first], base[row, first], slope[row, first]
    violated = np.maximum(begin + 1, (capacity - base) // np.maximum(slope, 1) + 1)
    fits = ~is_over.any(axis=-1)
    return fits, np.where(fits, -1, violated), np.where(fits, 0, base + slope * violated)


def seconds(clock, prompt, start, completion, real, rounds):
    """Time until the end of the rounds, event by event: the length of each piece is added up."""
    a, b, c, d, e = clock
    time, base, slope, running_total = usage(prompt, start, completion, real)
    nothing = np.zeros_like(prompt, dtype=np.int64)
    started = running_total(real.astype(np.int64), nothing)
    prefilled = running_total(np.where(real, prompt.astype(np.int64), 0), nothing)
    squares = running_total(np.where(real, prompt.astype(np.float64) ** 2, 0), nothing * 0.0)
    end = np.concatenate([time[:, 1:], time[:, -1:]], axis=-1)
    found = np.full(rounds.shape, np.nan)
    for row, column in np.argwhere(rounds >= 0):
        t = int(rounds[row, column])
        begin = time[row]
        length = np.clip(np.minimum(end[row], t) - begin, 0, None)
        is_before = begin < t
        length[np.flatnonzero(is_before)[-1:]] = t - begin[is_before][-1:]
        held = slope[row] * length * (length + 1) // 2
        held = held + (base[row] + slope[row] * begin) * length
        num_started, num_prefilled, squared = (
            each[row][is_before][-1] if is_before.any() else 0
            for each in (started, prefilled, squares)
        )
        found[row, column] = (
            a * (length * (slope[row] > 0)).sum()
            + b * num_prefilled
            + c * ((slope[row] * length).sum() - num_started)
            + d * (held.sum() - num_prefilled - num_started)
            + e * squared
        ) / 1000
    return found


def distribution(name, values):
    with np.errstate(invalid="ignore"):
        measures = {f"mean_{name}": np.nansum(values, axis=-1) / (~np.isnan(values)).sum(axis=-1)}
    for percent in PERCENTS:
        measures[f"p{percent}_{name}"] = np.nanpercentile(values, percent, axis=-1)
    return measures | {f"max_{name}": np.nanmax(values, axis=-1)}


def summary(prompt, output, start, completion, real):
    """Every metric in rounds."""
    latency, first = (
        np.where(real, each.astype(np.float64), np.nan) for each in (completion, start)
    )
    slowdown, span = latency / output, np.where(real, completion, -1).max(axis=-1).astype(np.int64)
    volume = volumes(prompt, output, real).sum(axis=-1)
    return {
        "total_latency_rounds": np.nansum(latency, axis=-1),
        **distribution("latency_rounds", latency),
        "mean_ttft_rounds": distribution("x", first + 1)["mean_x"],
        "p99_ttft_rounds": distribution("x", first + 1)["p99_x"],
        "mean_slowdown": distribution("x", slowdown)["mean_x"],
        "p99_slowdown": distribution("x", slowdown)["p99_x"],
        "makespan_rounds": span,
        "peak_kv_tokens": peak(prompt, start, completion, real),
        "mean_kv_tokens": volume / span,
        "throughput_tokens_per_round": np.where(real, output, 0).sum(axis=-1) / span,
    }


def volumes(prompt, output, real):
    prompt, output = prompt.astype(np.int64), output.astype(np.int64)
    return np.where(real, prompt * output + output * (output + 1) // 2, 0)


def volume_bound(prompt, output, real, capacity):
    work = np.cumsum(np.sort(volumes(prompt, output, real), axis=-1), axis=-1)
    rounds = -(-work // capacity.astype(np.int64)[:, None])
    shortest = np.sort(np.where(real, output, 0), axis=-1)
    return np.maximum(rounds, shortest).sum(axis=-1).astype(np.float64)


def mean_busy_bound(prompt, output, real, capacity):
    """In the widest floats there are, without what the bound gives away for rounding."""
    s, o = prompt.astype(np.longdouble), output.astype(np.longdouble)
    volume = volumes(prompt, output, real).astype(np.longdouble)
    after = s * o * (o - 1) / 2 + o * (o**2 - 1) / 6
    rest = np.where(real, 0.5 + after / np.maximum(volume, 1), 0).sum(axis=-1)
    volume = np.sort(volume, axis=-1)
    return ((np.cumsum(volume, axis=-1) - volume / 2) / capacity[:, None]).sum(axis=-1) + rest
