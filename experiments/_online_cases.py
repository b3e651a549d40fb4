"""Streams, servers and targets of the experiments on requests that arrive over time.

A load of 1 is the rate above which no rule keeps up, see `jaxsched.bounds.stability`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxsched as js

TRACES = ("azure2023_conv", "azure2023_code", "mooncake_conversation")
BURSTY, BURSTY_CV = "bursty_mixed", 4.0
STAMP_S = 3.0  # the trace of Mooncake stamps arrivals every three seconds
NUM_CLIENTS = 8


class Targets(NamedTuple):
    """What a request should keep to, in seconds."""

    ttft_slo_s: float
    tpot_slo_s: float


#: Targets apart from the usual ones. Prompts of Mooncake have 12,000 tokens in the mean, which take
#: 0.3 s and more; requests of Azure's code come in bursts, and a step that prefills lasts 0.13 s.
TARGETS = {
    "llama3.1_8b_h100": {
        "azure2023_code": Targets(5.0, 0.1),
        "mooncake_conversation": Targets(5.0, 0.05),
    },
    "llama3.1_70b_4xh100": {
        "azure2023_code": Targets(10.0, 0.2),
        "mooncake_conversation": Targets(10.0, 0.1),
    },
}
USUAL_TARGETS = {
    "llama3.1_8b_h100": Targets(0.5, 0.05),
    "llama3.1_70b_4xh100": Targets(1.0, 0.1),
}


class Case(NamedTuple):
    """Streams ``[B, n]`` that arrive at one request a second, and what serves them."""

    workload: str
    server_name: str
    reqs: js.Requests
    server: js.Server
    targets: Targets
    limit: float  # requests a second at a load of 1


def cases(folder: Path | None, num_requests: int, streams: int, key: jax.Array) -> Iterator[Case]:
    """Every workload on every server; traces only where their folder is there."""
    for workload, reqs in workloads(folder, num_requests, streams, key):
        for server_name, usual in USUAL_TARGETS.items():
            server = js.servers.get(server_name)
            every = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1), reqs)
            yield Case(
                workload,
                server_name,
                reqs,
                server,
                TARGETS[server_name].get(workload, usual),
                float(js.bounds.stability(every, server).rate),
            )


def workloads(
    folder: Path | None, num_requests: int, streams: int, key: jax.Array
) -> Iterator[tuple[str, js.Requests]]:
    """Name and streams ``[B, n]`` of each workload, at one request a second, with clients."""
    drawn = {BURSTY: bursty(jax.random.fold_in(key, 0), num_requests, streams)}
    for number, trace in enumerate(TRACES if folder else (), start=1):
        path = folder / f"{trace}.csv.gz"
        own = jax.random.fold_in(key, number)
        reqs = js.traces.load_requests(
            path, rate=None, num_requests=num_requests, batch=streams, key=own
        )
        jitter_s = STAMP_S if trace == "mooncake_conversation" else 0.0
        drawn[trace] = one_a_second(reqs, jitter_s, jax.random.fold_in(own, 1))
    for name, reqs in drawn.items():
        chance = 1.0 / np.arange(1, NUM_CLIENTS + 1)
        client = np.random.default_rng(0).choice(
            NUM_CLIENTS, size=reqs.is_real.shape, p=chance / chance.sum()
        )
        yield name, dataclasses.replace(reqs, client=client.astype(np.int32))


def bursty(key: jax.Array, num_requests: int, streams: int) -> js.Requests:
    """Draw requests of `mixed` whose gaps are of a Gamma law, with a variation of four means."""
    inst = js.workloads.mixed(key, num_requests, batch=streams)
    shape = 1 / BURSTY_CV**2
    gaps = jax.random.gamma(jax.random.fold_in(key, 1), shape, inst.is_real.shape) / shape
    arrival_s = np.cumsum(np.asarray(gaps, np.float64), axis=-1)
    reqs = js.Requests.from_arrays(
        arrival_s, np.asarray(inst.prompt_tokens), np.asarray(inst.output_tokens)
    )
    return one_a_second(reqs, 0.0, key)


def one_a_second(reqs: js.Requests, jitter_s: float, key: jax.Array) -> js.Requests:
    """Spread arrivals evenly over `jitter_s` and scale time so that one comes a second."""
    late = np.asarray(jax.random.uniform(key, reqs.is_real.shape, jnp.float32), np.float64)
    arrival_s = np.asarray(reqs.arrival_s) + jitter_s * late
    order = np.argsort(arrival_s, axis=-1, kind="stable")
    arrival_s, prompt, output = (
        np.take_along_axis(np.asarray(each), order, axis=-1)
        for each in (arrival_s, reqs.prompt_tokens, reqs.output_tokens)
    )
    arrival_s -= arrival_s[:, :1]
    span = arrival_s[:, -1:] / (arrival_s.shape[-1] - 1)
    return js.Requests.from_arrays(arrival_s / span, prompt, output)


def at_loads(case: Case, loads: np.ndarray) -> js.Requests:
    """Put the same streams at several loads, ``[K, B, n]``: times are scaled, nothing else."""
    shape = (len(loads), *case.reqs.is_real.shape)
    wide = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), shape), case.reqs)
    rate = case.limit * np.asarray(loads, np.float64)[:, None, None]
    return dataclasses.replace(wide, arrival_s=np.asarray(case.reqs.arrival_s) / rate)


def rules(clock: js.clock.LinearClock | None) -> dict[str, js.policies.Rule | str]:
    """Rules that need not know the requests to come, with the times of a clock, or of rounds.

    Without targets of their own, `earliest_deadline` is `fcfs`; without priorities, so is
    `aged_priority`. Rules of batches and of prices order a backlog, which is known whole.
    """
    if clock is None:
        work = {"prompt_s": 0.0, "output_s": 1.0}
        gamma, starve_s, second = 1 / 3000, 1000.0, 100.0
    else:
        # A token takes a step, which lasts half as long again as an empty one.
        output_s = 1.5e-3 * float(clock.iteration_ms)
        work = {"prompt_s": 1e-3 * float(clock.prefill_ms_per_token), "output_s": output_s}
        gamma, starve_s, second = 1 / 30, 30.0, 1.0
    per_s = 0.1 / second
    policies = js.policies
    return {
        "fcfs": "fcfs",
        "shortest_prompt": "shortest_prompt",
        "shortest_output": "shortest_output",
        "total_size": "total_size",
        "smallest_volume": "smallest_volume",
        "length_weighted": "length_weighted",
        "aged_prompt": policies.make("aged_prompt", tokens_per_s=100.0 / second),
        "aged_size": policies.make("aged_size", wait_unit_s=5.0 * second),
        "fading_prompt": policies.make("fading_prompt", per_s=per_s),
        "highest_response_ratio": "highest_response_ratio",
        "token_response_ratio": "token_response_ratio",
        "gamma_boost": policies.make("gamma_boost", gamma=gamma, **work),
        "uniboost": policies.make("uniboost", gamma=gamma, **work),
        "uniboost, evicting": policies.make("uniboost", gamma=gamma, evicts=True, **work),
        "least_slack": policies.make("least_slack", prefill_s=work["prompt_s"]),
        "shortest_remaining": "shortest_remaining",
        "a_max": "a_max",
        "a_min": "a_min",
        "skip_join_mlfq": policies.make(
            "skip_join_mlfq",
            quantum_s=0.5 * second,
            prompt_s=work["prompt_s"],
            starve_s=starve_s,
        ),
        "geometric_slicing": "geometric_slicing",
        "virtual_token_counter": "virtual_token_counter",
        "least_attained_service": policies.make(
            "least_attained_service", half_life_s=60.0 * second
        ),
    }


def predicted_for(rule: str, reqs: js.Requests, key: jax.Array) -> js.Requests:
    """Give `a_max` and `a_min` the ends of intervals with the truth inside; others see it."""
    if rule not in ("a_max", "a_min"):
        return reqs
    end = "upper" if rule == "a_max" else "lower"
    return js.workloads.predict(reqs, key, sigma=0.5, kind="interval", end=end)
