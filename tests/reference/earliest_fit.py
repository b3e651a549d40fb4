"""Each request in turn at the earliest round where it fits among those already placed."""

from tests.reference.feasible import fits


def earliest_fit(
    prompt: list[int],
    output: list[int],
    capacity: int,
    order: list[int],
    admission: str = "look_ahead",
    max_num_seqs: int | None = None,
) -> list[int]:
    """Start round of each request when they are placed in ``order`` (request indices).

    A request may start before one that was placed earlier, and never moves one.
    """
    start = [None] * len(order)
    for request in order:
        round_ = 0
        while not fits(request, round_, start, prompt, output, capacity, admission, max_num_seqs):
            round_ += 1
        start[request] = round_
    return start
