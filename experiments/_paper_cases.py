"""What `sorted_f_paper.py` compares: the rules, the backlogs, and the bound beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import jaxsched as js
from jaxsched.policies.batches.geometric import geometric
from jaxsched.policies.batches.sorted_f import sorted_f
from jaxsched.policies.guided.lp_guided import (
    linear_program_starts,
    lp_swap,
    receding_horizon,
    sorted_lp,
)

SEED = 0
KV_CAPACITY, SERVER = 16492, "llama2_70b_2xa100"
LONG_TRACE = "mooncake_conversation"  # its prompts reach 126,000 tokens
LONG_CAPACITY, LONG_SERVER = 524_288, "llama2_70b_4xa100"
SUMMARIZATION_FILE = "arxiv_summarization.csv.gz"

Rules = dict[str, js.policies.Rule | str]

INDEX_RULES = ("fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume")
WHOLE_FILE_RULES: Rules = {
    **{name: name for name in INDEX_RULES},
    "sorted_f": sorted_f(),
    "geometric": geometric,
}
RULES: Rules = {
    **WHOLE_FILE_RULES,
    "sorted_f[local_swap]": sorted_f("local_swap"),
    "sorted_f[greedy]": sorted_f("greedy"),
    "receding_horizon": receding_horizon(),
}
SLOW_RULES: Rules = {"sorted_f[scaled_dp]": sorted_f("scaled_dp")}
MOST_FOR_SLOW_RULES = 200  # half a second an instance


class Sizes(NamedTuple):
    """How much is run: instances of each number of requests, for workloads and the others."""

    instances: Mapping[int, int]
    trace: tuple[int, int]
    linear_program: tuple[int, int]
    has_whole_files: bool


FULL = Sizes({200: 64, 500: 20, 1000: 20, 2000: 20}, (1000, 20), (40, 20), has_whole_files=True)
SMOKE = Sizes({10: 3}, (10, 3), (10, 3), has_whole_files=False)  # one shape: compiled once


class BestBound:
    """The larger of the price and the volume bound; keeps where the prices start each request."""

    def __init__(self) -> None:
        self._starts: dict[bytes, np.ndarray] = {}

    def __call__(self, inst: js.Instance) -> np.ndarray:
        """Return the bound on total latency ``[..]``, in rounds."""
        found = js.bounds.price(inst, progress=False)
        n = inst.prompt_tokens.shape[-1]
        lengths = (inst.prompt_tokens, inst.output_tokens, found.best_starts)
        for prompt, output, starts in zip(*(x.reshape(-1, n) for x in lengths), strict=True):
            self._starts[_lengths(prompt, output)] = starts
        return np.maximum(found.value, js.bounds.volume(inst))

    def starts(self, inst: js.Instance) -> np.ndarray:
        """Return the cheapest starts under the prices, of one instance that was bounded before."""
        return self._starts[_lengths(inst.prompt_tokens, inst.output_tokens)]


def _lengths(prompt: np.ndarray, output: np.ndarray) -> bytes:
    return np.stack([prompt, output]).tobytes()


class Case(NamedTuple):
    """Backlogs to compare rules on, and the server that turns rounds into seconds."""

    name: str
    inst: js.Instance
    rules: Rules
    bound: BestBound
    server: str = SERVER


def cases(sizes: Sizes, folder: Path | None) -> Iterator[Case]:
    """Every case in turn; those with real lengths only where ``folder`` holds them."""
    key = jax.random.key(SEED)
    for name, workload in _workloads(folder).items():
        for n, count in sizes.instances.items():
            rules = RULES | SLOW_RULES if n <= MOST_FOR_SLOW_RULES else RULES
            yield _guided(f"{name}, n = {n}", workload(key, n, count), rules)
    trace_key = jax.random.key(SEED + 1)  # other samples than those of `summarization (real)`
    for path in sorted(folder.glob("*.csv.gz")) if folder else ():
        name = path.name.partition(".")[0]
        is_long = name == LONG_TRACE
        capacity, server = (LONG_CAPACITY, LONG_SERVER) if is_long else (KV_CAPACITY, SERVER)
        n, count = sizes.trace
        sample = js.traces.load(path, capacity, num_requests=n, batch=count, key=trace_key)
        yield _guided(f"{name}, samples of {n}", sample, RULES, server)
        if sizes.has_whole_files:
            whole = js.traces.load(path, capacity)
            yield Case(f"{name}, whole", whole, WHOLE_FILE_RULES, BestBound(), server)
    n, count = sizes.linear_program
    small = _first(js.workloads.uniform(key, batch=count), n)
    yield _guided(f"uniform, n = {n}", small, RULES | _small_rules())


def _guided(name: str, inst: js.Instance, rules: Rules, server: str = SERVER) -> Case:
    """Add the LP-guided rules, on the starts that the price bound finds."""
    bound = BestBound()
    guided = {"sorted_lp": sorted_lp(bound.starts), "lp_swap": lp_swap(bound.starts)}
    return Case(name, inst, rules | guided, bound, server)


def _workloads(folder: Path | None) -> dict[str, Callable[..., js.Instance]]:
    found = {
        "chat": js.workloads.chat,
        "summarization": js.workloads.summarization,
        "mixed": functools.partial(js.workloads.mixed, exact_counts=True),
    }
    if folder and (path := folder / SUMMARIZATION_FILE).is_file():
        found["summarization (real)"] = functools.partial(_summarization_real, path)
        found["mixed (real)"] = functools.partial(_mixed_real, path)
    return found


def _summarization_real(path: Path, key: jax.Array, n: int, batch: int) -> js.Instance:
    return js.traces.load(path, KV_CAPACITY, num_requests=n, batch=batch, key=key)


def _mixed_real(path: Path, key: jax.Array, n: int, batch: int) -> js.Instance:
    """As ``mixed`` with exact counts, its summarisation requests from the real file."""
    chat_key, real_key, order_key = jax.random.split(key, 3)
    num_chat = 4 * n // 5
    chat = js.workloads.chat(chat_key, num_chat, batch)
    real = _summarization_real(path, real_key, n - num_chat, batch)
    place = np.broadcast_to(np.arange(n), (batch, n))
    order = np.asarray(jax.random.permutation(order_key, place, axis=1, independent=True))

    def shuffled(chat: jax.Array, real: jax.Array) -> np.ndarray:
        return np.take_along_axis(np.concatenate([chat, real], axis=1), order, axis=1)

    return js.Instance.from_lengths(
        shuffled(chat.prompt_tokens, real.prompt_tokens),
        shuffled(chat.output_tokens, real.output_tokens),
        kv_capacity=KV_CAPACITY,
    )


def _first(inst: js.Instance, n: int) -> js.Instance:
    """Keep the first ``n`` requests of each instance."""
    return js.Instance.from_lengths(
        inst.prompt_tokens[:, :n], inst.output_tokens[:, :n], kv_capacity=inst.kv_capacity
    )


def _small_rules() -> Rules:
    """Exact batches, and the LP-guided rules on linear programmes that HiGHS solves once each."""
    solved: dict[bytes, np.ndarray] = {}

    def starts(inst: js.Instance) -> np.ndarray:
        lengths = _lengths(inst.prompt_tokens, inst.output_tokens)
        if lengths not in solved:
            solved[lengths] = linear_program_starts(inst)
        return solved[lengths]

    return {
        "sorted_f[exact_dp]": sorted_f("exact_dp", max_capacity=50),
        "sorted_lp[highs]": sorted_lp(starts),
        "lp_swap[highs]": lp_swap(starts),
    }
