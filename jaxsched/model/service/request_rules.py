"""What must hold of each request in a recorded run: its place, its tokens, its end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxsched.model.service.replay import ADMIT, EVICT, FINISH, GRANT, Events
from jaxsched.model.service.violations import Violation, first_of


def place_violations(events: Events, clock: np.ndarray, arrival: np.ndarray) -> Iterator[Violation]:
    """Judge that requests arrive, are admitted, after evictions again, and finish for good."""
    kind, request = events.kind, events.request

    def wrong(is_wrong: np.ndarray, say: str) -> Iterator[Violation]:
        return first_of(
            is_wrong,
            events.step,
            request,
            lambda at: f"step {events.step[at]} {say.format(f'request {request[at]}')}",
        )

    admits, grants = kind == ADMIT, kind == GRANT
    yield from wrong(events.previous == FINISH, "goes on with {}, which has finished")
    yield from wrong(admits & (arrival[request] > clock[events.step]), "admits {} too early")
    yield from wrong(admits & (events.was_running != 0), "admits {}, which runs already")
    yield from wrong(admits & (events.next != GRANT), "admits {} and computes nothing of it")
    resumes = (events.evictions > 0) != (events.resumed > 0)
    yield from wrong(admits & resumes, "admits {} with a wrong mark of being resumed")
    is_out = events.was_running != 1
    yield from wrong(grants & is_out, "computes tokens of {}, which does not run")
    yield from wrong((kind == EVICT) & is_out, "evicts {}, which does not run")
    yield from wrong((kind == FINISH) & is_out, "finishes {}, which does not run")
    yield from wrong(grants & (events.next == GRANT), "computes tokens of {} twice")


def token_violations(events: Events, output: np.ndarray) -> Iterator[Violation]:
    """Judge that tokens are computed once and sampled once, and that the last one ends it."""
    step, request, after = events.step, events.request, events.computed + events.tokens
    grants = events.kind == GRANT

    yield from first_of(
        grants & (events.tokens < 1),
        step,
        request,
        lambda at: f"step {step[at]} grants request {request[at]} {events.tokens[at]} tokens",
    )
    yield from first_of(
        grants & (after > events.known),
        step,
        request,
        lambda at: (
            f"step {step[at]} computes {events.tokens[at]:,} tokens of request {request[at]}, of "
            f"which {events.known[at] - events.computed[at]:,} were left to compute"
        ),
    )
    yield from first_of(
        grants & ((events.sampled > 0) != (after == events.known)),
        step,
        request,
        lambda at: (
            f"step {step[at]} {'samples' if events.sampled[at] else 'does not sample'} a token of "
            f"request {request[at]}, of which {after[at]:,} of {events.known[at]:,} tokens are "
            "computed"
        ),
    )
    is_due = grants & (events.sampled > 0) & (events.generated + 1 >= output[request])
    yield from first_of(
        is_due & (events.next != FINISH),
        step,
        request,
        lambda at: (
            f"step {step[at]} does not finish request {request[at]}, which has all of its "
            f"{output[request[at]]:,} output tokens"
        ),
    )
    ends_well = np.roll(is_due & (events.next == FINISH), 1)
    yield from first_of(
        (events.kind == FINISH) & ~ends_well,
        step,
        request,
        lambda at: (
            f"step {step[at]} finishes request {request[at]} with {events.generated[at]:,} of "
            f"{output[request[at]]:,} output tokens"
        ),
    )
