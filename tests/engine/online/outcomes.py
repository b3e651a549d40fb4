"""The oracle's logs in the nouns of the package: requests, a server, an outcome, columns."""

from __future__ import annotations

from dataclasses import asdict

import jax
import numpy as np

import jaxsched as js
from jaxsched.model.itl import ITL_EDGES_S, itl_buckets
from tests.engine.online.scenarios import Scenario
from tests.reference.online_settings import Log, Settings
from tests.reference.service_metrics import token_times

_SAME = (
    "block_size",
    "max_num_batched_tokens",
    "max_model_len",
    "enable_chunked_prefill",
    "long_prefill_token_threshold",
    "long_prefill_token_threshold_adaptive",
    "policy",
    "watermark",
    "prefill_schedule_interval",
    "admission",
    "preemption",
    "swap_s_per_token",
    "prefill_first",
)
_STATUS = {
    "step_limit": js.Status.STEP_LIMIT,
    "stalled": js.Status.STALLED,
    "nan_priority": js.Status.NAN_PRIORITY,
}


def server_of(scenario: Scenario) -> js.Server:
    """The server of a scenario; victims by rank are left to the log."""
    settings: Settings = scenario.settings
    a, b, c, d, e = scenario.clock
    victim = {None: "by_policy", "rule": "by_policy"}.get(settings.victim, settings.victim)
    return js.Server(
        kv_capacity=settings.usable_blocks * settings.block_size,
        # The oracle's squares are half as large.
        clock=js.clock.LinearClock(1e3 * a, 1e3 * b, 1e3 * c, 1e3 * d, 1e3 * e / 2),
        max_num_seqs=settings.most_running,
        victim=victim,
        **{name: getattr(settings, name) for name in _SAME},
    )


def stacked_server(servers):
    """One server whose numbers are those of many, ``[B]``."""
    choices = jax.tree.structure(servers[0])
    assert all(jax.tree.structure(each) == choices for each in servers)
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *servers)


def requests_of(scenario: Scenario, **optional) -> js.Requests:
    return js.Requests.from_arrays(scenario.arrival_s, scenario.prompt, scenario.output, **optional)


def outcome_of(scenario: Scenario, log: Log) -> js.Outcome:
    """What ``serve`` returns when it decides as the log does."""
    times = token_times(log, restarts=scenario.settings.preemption == "restart")
    gaps = [np.diff(each) for each in times]
    histogram = np.bincount(itl_buckets(np.concatenate(gaps)), minlength=ITL_EDGES_S.size - 1)
    busy_s = np.subtract(log.step_end, log.step_clock)
    status = {"finished": js.Status.OK, "refused": js.Status.REFUSED}
    return js.Outcome(
        arrival=np.array(scenario.arrival_s),
        first_scheduled=np.array(log.out_first_sched_time),
        first_token=np.array(log.out_first_token_time),
        completion=np.array(log.out_finish_time),
        num_preemptions=np.array(log.out_preemptions, np.int32),
        status=np.array(
            [status.get(each, _STATUS.get(log.status)) for each in log.out_status], np.int32
        ),
        is_real=np.ones(len(gaps), bool),
        max_itl=np.array([each.max(initial=0.0) for each in gaps]),
        itl_histogram=histogram,
        num_steps=np.int64(len(busy_s)),
        recomputed_tokens=np.int64(log.recomputed_tokens),
        busy=np.float64(log.busy_s),
        peak_kv_tokens=np.int64(log.peak_tokens),
        kv_token_time=np.float64(np.dot(log.step_tokens, busy_s)),
    )


def columns_of(log: Log) -> dict[str, np.ndarray]:
    """The columns that a recorded run has."""
    kinds = ("step_", "ent_", "pre_", "adm_", "fin_")
    dtypes = {"ent_sampled": bool, "adm_resumed": bool, "step_clock": float, "step_end": float}
    return {
        name: np.asarray(values, dtypes.get(name, np.int64))
        for name, values in asdict(log).items()
        if name.startswith(kinds) and name not in ("step_tokens", "step_swapped")
    }
