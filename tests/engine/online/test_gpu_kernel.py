"""The GPU kernel without a GPU: interpreted, it serves as the oracle and js.serve do."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.engine.online.arrivals import checked
from jaxsched.engine.online.gpu.dispatch import by_kernel, slots_for
from jaxsched.engine.online.serve import given_to_kernel
from tests.engine.online.outcomes import outcome_of, server_of, stacked_server
from tests.engine.online.scenarios import VLLM_OPTIONS, Scenario, random_scenario
from tests.engine.online.test_serve import (
    TIMES,
    TOTALS,
    assert_same,
    first_requests,
    requests_with_priority,
)
from tests.reference.online_settings import Settings

pytestmark = pytest.mark.jax_defaults

QUICK = VLLM_OPTIONS | {"long_prefill_token_threshold": 0, "prefill_schedule_interval": 1}
# As many run at once as there are slots.
CROWD = Scenario(
    settings=Settings(num_gpu_blocks=400, block_size=4, max_num_seqs=64),
    clock=(2.0**-9, 2.0**-9, 2.0**-9, 0.0, 0.0),
    arrival_s=[0.0] * 64,
    prompt=[3] * 64,
    output=[5 + r % 7 for r in range(64)],
    priority=[0.0] * 64,
    predicted=[1] * 64,
    victim_rank=[0.0] * 64,
)


def drawn(num_scenarios, **fixed):
    every = [
        random_scenario(seed, clock=("exact", "measured")[seed % 2], **QUICK | fixed)
        for seed in range(num_scenarios)
    ]
    crowd = dataclasses.replace(CROWD, settings=dataclasses.replace(CROWD.settings, **fixed))
    return [crowd, *(each for each in every if not np.isnan(each.priority).any())]


def together(scenarios):
    reqs = js.stack([requests_with_priority(each) for each in scenarios])
    return reqs, stacked_server([server_of(each) for each in scenarios])


@functools.partial(jax.jit, static_argnums=0)
def interpreted_on(choices, arrivals, limits):
    given = checked(arrivals, limits)
    records, totals = by_kernel(
        "interpreter", choices, given, limits, jnp.full(limits.block_size.shape, jnp.inf)
    )
    return given, records, totals


def interpreted(reqs, server, max_steps=None):
    """What ``js.serve`` would return if the kernel served."""
    priority = reqs.priority if server.policy == "priority" else None
    with jax.enable_x64(True):
        arrivals, limits, choices = given_to_kernel(server, reqs, priority, max_steps)
        given, records, totals = interpreted_on(choices, arrivals, limits)
    ends = np.where(np.isnan(records.completion), totals.status[:, None], js.Status.OK)
    out = js.Outcome(
        arrival=reqs.arrival_s,
        first_scheduled=records.first_scheduled,
        first_token=records.first_token,
        completion=records.completion,
        num_preemptions=records.preemptions,
        status=np.where(given.is_refused, js.Status.REFUSED, ends).astype(np.int32),
        is_real=reqs.is_real,
        max_itl=records.max_itl,
        itl_histogram=totals.histogram,
        num_steps=totals.steps,
        recomputed_tokens=totals.recomputed,
        busy=totals.busy,
        peak_kv_tokens=totals.peak,
        kv_token_time=totals.token_seconds,
    )
    return jax.tree.map(np.asarray, out)


def assert_equal_to_the_oracle(scenarios):
    out = interpreted(*together(scenarios))
    for row, scenario in enumerate(scenarios):
        expected, n = outcome_of(scenario, scenario.log()), len(scenario.prompt)
        assert_same(first_requests(out[row], n), expected, row)
        np.testing.assert_allclose(out.max_itl[row, :n], expected.max_itl, rtol=1e-9)
        np.testing.assert_allclose(out.kv_token_time[row], expected.kv_token_time, rtol=1e-9)
        assert out.itl_histogram[row].sum() == expected.itl_histogram.sum()
    return out


def test_interpreted_it_decides_as_the_oracle_does():
    scenarios = drawn(150, policy="fcfs", admission="prompt")
    settings = [each.settings for each in scenarios]
    out = assert_equal_to_the_oracle(scenarios)
    assert (out.first_scheduled[0] == 0).all()
    assert (out.completion[0] > out.first_token[0].max()).all()  # all 64 run at once
    assert (out.num_preemptions.max(axis=-1) > 1).any()
    assert {js.Status.OK, js.Status.REFUSED} <= set(out.status[out.is_real])
    arrivals = [each.arrival_s for each in scenarios]
    assert any(len(set(each)) < len(each) for each in arrivals[1:])
    for is_so in (
        lambda each: each.max_num_batched_tokens < each.most_running,
        lambda each: each.max_model_len < 60,
        lambda each: each.watermark > 0,
        lambda each: not each.enable_chunked_prefill,
        lambda each: each.block_size == 1,
    ):
        assert any(map(is_so, settings))


def assert_equal_to_serve(reqs, server, max_steps=None):
    out = interpreted(reqs, server, max_steps)
    expected = js.serve(reqs, server, max_steps=max_steps)
    for field in ("num_preemptions", "status", *TOTALS, "itl_histogram"):
        np.testing.assert_array_equal(getattr(out, field), getattr(expected, field), field)
    for field in (*TIMES, "max_itl", "busy", "kv_token_time"):
        np.testing.assert_allclose(
            getattr(out, field), getattr(expected, field), rtol=1e-9, err_msg=field
        )
    return out


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["fcfs", "priority"])
@pytest.mark.parametrize("admission", ["prompt", "chunk"])
@pytest.mark.parametrize("max_steps", [40, None])
def test_interpreted_it_gives_what_serve_gives(policy, admission, max_steps):
    scenarios = drawn(800, policy=policy, admission=admission)
    out = assert_equal_to_serve(*together(scenarios), max_steps)
    assert (js.Status.STEP_LIMIT in out.status) == (max_steps is not None)
    assert int(out.num_preemptions.sum()) > 200


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_long_streams_on_a_server_of_real_size(policy):
    rng = np.random.default_rng(0)
    reqs = js.Requests.from_arrays(
        np.sort(rng.uniform(0, 20, (4, 600))),
        rng.integers(1, 1000, (4, 600)),
        rng.integers(1, 300, (4, 600)),
        priority=rng.integers(0, 4, (4, 600)),
    )
    server = js.servers.get("llama3.1_8b_h100").replace(kv_capacity=12_000, policy=policy)
    out = assert_equal_to_serve(reqs, server)
    assert (out.status == js.Status.OK).all()
    assert (out.num_preemptions.sum(axis=-1) > 10).all()


def test_slots_are_as_many_as_may_be_needed_or_the_kernel_does_not_serve():
    reqs = js.Requests.from_arrays([0.0], [1], [1])

    def choices(**settings):
        server = js.servers.get("llama3.1_8b_h100").replace(**settings)
        return given_to_kernel(server, reqs, None, None)[2]

    assert slots_for(1, choices()) == 64
    assert slots_for(100, choices()) == 128
    assert slots_for(10_000, choices()) == 256
    assert slots_for(10_000, choices()._replace(slots=1024)) is None
    assert slots_for(1, choices(victim="longest_remaining")) is None
    assert slots_for(1, choices(long_prefill_token_threshold=9)) is None
