"""The online oracle's options ``admission`` (may the head start?) and ``victim`` (who leaves?).

``admission``: what must fit before the head of the queue is admitted, next to the blocks of its
first chunk. While somebody runs, ``watermark_blocks`` more must be free on either count.
  "prompt": the blocks of all its known tokens are free. "chunk": nothing else.
  "peak": ``ceil(max(prompt + predicted, known + 1) / block_size)`` summed over the running and
  the head is at most the usable blocks.
  "look_ahead": a request has ``R = max(prompt + predicted - known, 1)`` steps to go, and holds
  ``ceil((known + k) / block_size)`` blocks k steps from now, k = 1 .. R, as if it were filled in
  this step and then computed one token a step. Summed over the running and the head that is at
  most the usable blocks for every k (the sum only falls when a request ends, so k = R suffices).
  "peak" and "look_ahead" count ``known`` before this step, include those admitted earlier in this
  step, and ask nothing while nobody runs.

``victim``: who is evicted while a running request lacks blocks. Any of the running, the asking
request included; the first of equals in running order. If it is the asking request, pass 1 goes on
with the next one.
  "last_admitted" (fcfs): the last in running order.
  "worst_priority" (priority): the largest (priority, arrival).
  "least_computed": the fewest computed tokens before this step.
  "most_memory": the most blocks held, those taken in this step included.
  "longest_remaining": the largest ``max(prompt + predicted - known, 1)``.
  "rule": the largest of the numbers given, one a request.
"""

from __future__ import annotations


def fits(stream, r: int, tokens: int) -> bool:
    """Whether the head r of the queue, with a first chunk of ``tokens``, may be admitted."""
    settings, running, blocks = stream.settings, stream.running, stream.blocks
    extra = settings.watermark_blocks if running else 0
    if blocks(stream.computed[r] + tokens) + extra > stream.free:
        return False
    if settings.admission == "prompt":
        return blocks(stream.known[r]) + extra <= stream.free
    if settings.admission == "chunk" or not running:
        return True
    demand = _peak if settings.admission == "peak" else _look_ahead
    return demand(stream, [*running, r]) + extra <= settings.usable_blocks


def _peak(stream, together: list[int]) -> int:
    return sum(stream.blocks(stream.known[r] + stream.remaining(r)) for r in together)


def _look_ahead(stream, together: list[int]) -> int:
    return max(
        sum(stream.blocks(stream.known[r] + k) for r in together if stream.remaining(r) >= k)
        for k in {stream.remaining(r) for r in together}
    )


def choose_victim(stream) -> int:
    """The running request to evict."""
    if stream.settings.victim_rule == "last_admitted":
        return stream.running[-1]
    worst = {
        "worst_priority": lambda r: (stream.priority[r], stream.arrival[r]),
        "least_computed": lambda r: -stream.computed[r],
        "most_memory": lambda r: stream.held[r],
        "longest_remaining": stream.remaining,
        "rule": lambda r: stream.rank[r],
    }[stream.settings.victim_rule]
    return max(stream.running, key=worst)  # the first of equals
