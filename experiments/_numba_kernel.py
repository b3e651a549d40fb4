"""The rival: the event algorithm written by hand for one core at a time, on all cores.

A compact list of the active requests with their ends, offsets and peak usage; one pass to
probe, one to update and to drop the ended. Sorting is included, as it is in ``js.simulate``.
"""

import numba
import numpy as np


@numba.njit(parallel=True, cache=True)
def strict_order(prompt, output, kv_capacity, priority):
    """Start rounds int32 ``[B, n]`` in strict order with look-ahead."""
    num_instances, n = prompt.shape
    start = np.empty((num_instances, n), np.int32)
    for b in numba.prange(num_instances):
        order = np.argsort(priority[b], kind="mergesort")
        end = np.empty(n, np.int32)
        offset = np.empty(n, np.int32)
        peak = np.empty(n, np.int32)
        num_active, now, capacity = 0, 0, kv_capacity[b]
        for i in order:
            s, o = prompt[b, i], output[b, i]
            while True:
                bound, last, own, next_end = now, now + o, s + o, np.iinfo(np.int32).max
                for k in range(num_active):
                    if end[k] > now:
                        if end[k] <= last:
                            excess = peak[k] + s + end[k] - now - capacity
                            if excess > 0:
                                bound = max(bound, min(end[k], now + excess))
                        if end[k] >= last:
                            own += offset[k] + last
                            next_end = min(next_end, end[k])
                if own > capacity:
                    bound = max(bound, next_end - o + 1)
                if bound == now:
                    break
                now = bound
            kept = 0
            for k in range(num_active):
                if end[k] > now:
                    end[kept] = end[k]
                    offset[kept] = offset[k]
                    peak[kept] = peak[k] + (s + end[k] - now if end[k] <= last else 0)
                    kept += 1
            end[kept], offset[kept], peak[kept] = last, s - now, own
            num_active = kept + 1
            start[b, i] = now
    return start


@numba.njit(parallel=True, cache=True)
def earliest_fit(prompt, output, kv_capacity, priority):
    """Start rounds int32 ``[B, n]``, each request at the first round at which it fits."""
    num_instances, n = prompt.shape
    start = np.empty((num_instances, n), np.int32)
    for b in numba.prange(num_instances):
        order = np.argsort(priority[b], kind="mergesort")
        begin = np.empty(n, np.int32)
        end = np.empty(n, np.int32)
        offset = np.empty(n, np.int32)
        tokens = np.empty(n, np.int32)
        capacity = kv_capacity[b]
        for placed in range(n):
            i = order[placed]
            s, o, now = prompt[b, i], output[b, i], 0
            while True:
                bound, last, own, next_end = now, now + o, s + o, np.iinfo(np.int32).max
                for k in range(placed):
                    if end[k] > now:
                        if end[k] <= last:
                            excess = tokens[k] + s + end[k] - now - capacity
                            if excess > 0:
                                bound = max(bound, min(end[k], now + excess))
                        if end[k] >= last:
                            if begin[k] < last:
                                own += offset[k] + last
                            next_end = min(next_end, end[k])
                if own > capacity:
                    bound = max(bound, next_end - o + 1)
                if bound == now:
                    break
                now = bound
            for k in range(placed):
                if now < end[k] <= last:
                    tokens[k] += s + end[k] - now
            begin[placed], end[placed], offset[placed], tokens[placed] = now, last, s - now, own
            start[b, i] = now
    return start
