"""Strict order with look-ahead, one round after another."""

from tests.reference.feasible import fits


def strict_order(
    prompt: list[int],
    output: list[int],
    capacity: int,
    order: list[int],
    admission: str = "look_ahead",
    max_num_seqs: int | None = None,
) -> list[int]:
    """Start round of each request when they are served in ``order`` (request indices).

    At each round the next request in order starts for as long as no round, now or later, would
    hold more than ``capacity``; the first that does not fit blocks those behind it.
    """
    start = [None] * len(order)
    waiting = list(order)
    round_ = 0
    while waiting:
        while waiting and fits(
            waiting[0], round_, start, prompt, output, capacity, admission, max_num_seqs
        ):
            start[waiting.pop(0)] = round_
        round_ += 1
    return start
