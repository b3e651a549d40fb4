"""Batches of least F by trying every subset, and what the heuristics promise, in fractions."""

from collections.abc import Callable, Iterator
from fractions import Fraction

Batch = list[int]


def f_metric(output: list[int], batch: Batch) -> Fraction:
    return Fraction(sum(output[i] for i in batch), len(batch) ** 2)


def tokens(prompt: list[int], output: list[int], batch: Batch) -> int:
    return sum(prompt[i] + output[i] for i in batch)


def feasible_batches(
    prompt: list[int], output: list[int], capacity: int, requests: Batch
) -> Iterator[Batch]:
    """Every non-empty subset of ``requests`` that fits."""
    if not requests:
        return
    first, *others = requests
    yield from feasible_batches(prompt, output, capacity, others)
    spare = capacity - prompt[first] - output[first]
    if spare >= 0:
        yield [first]
        for batch in feasible_batches(prompt, output, spare, others):
            yield [first, *batch]


def best_batch(prompt: list[int], output: list[int], capacity: int, requests: Batch) -> Batch:
    """A feasible batch of least F; the largest of them."""
    return min(
        feasible_batches(prompt, output, capacity, requests),
        key=lambda batch: (f_metric(output, batch), -len(batch)),
    )


def best_prefix(prompt: list[int], output: list[int], capacity: int, order: Batch) -> Batch:
    """The feasible prefix of ``order`` of least F; the largest of them."""
    prefixes = (order[: k + 1] for k in range(len(order)))
    return min(
        (batch for batch in prefixes if tokens(prompt, output, batch) <= capacity),
        key=lambda batch: (f_metric(output, batch), -len(batch)),
    )


def neighbours(
    prompt: list[int], output: list[int], capacity: int, requests: Batch, batch: Batch
) -> Iterator[Batch]:
    """Every feasible batch one addition, removal or exchange away."""
    outside = [i for i in requests if i not in batch]
    for leaver in [None, *batch]:
        rest = [i for i in batch if i != leaver]
        for joiner in [None, *outside]:
            changed = rest if joiner is None else [*rest, joiner]
            if changed and tokens(prompt, output, changed) <= capacity:
                yield changed


def receding_horizon(
    prompt: list[int],
    output: list[int],
    capacity: int,
    choose: Callable[[Batch, int], Batch],
) -> list[Batch]:
    """What starts at each decision, round after round; ``choose(requests, free)`` picks it."""
    waiting = list(range(len(prompt)))
    completion: dict[int, int] = {}
    decisions = []
    round_ = 0
    while waiting:
        running = [i for i in completion if completion[i] > round_]
        free = capacity - tokens(prompt, output, running)
        fitting = [i for i in waiting if prompt[i] + output[i] <= free]
        has_news = round_ == 0 or round_ in completion.values()
        if has_news and fitting:
            batch = choose(fitting, free)
            decisions.append(sorted(batch, key=lambda i: (output[i], i)))
            waiting = [i for i in waiting if i not in batch]
            completion.update((i, round_ + output[i]) for i in batch)
        round_ += 1
    return decisions
