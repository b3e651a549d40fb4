"""Rules on a server beside what any rule needs with foresight."""

import jax
import numpy as np
import pytest

import jaxsched as js

SERVER = js.Server(
    kv_capacity=600, block_size=1, max_num_batched_tokens=600, admission="look_ahead"
)


def test_the_gap_is_of_total_latency_to_the_bound_and_is_shown():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 200, (2, 4, 20))
    inst = js.Instance.from_lengths(*lengths, kv_capacity=np.full(4, 600))
    reqs = js.workloads.poisson(jax.random.key(0), inst, 0.1)
    rules = ["shortest_prompt", "smallest_volume"]
    report = js.compare(reqs, rules, server=SERVER, bound="mean_busy")
    least_s = js.bounds.hindsight(reqs, SERVER, "mean_busy")
    for rule in rules:
        total_s = js.serve(reqs, SERVER, rule).latency.sum(axis=-1)
        np.testing.assert_allclose(report.metrics[rule]["gap"], total_s / least_s - 1)
        assert (report.metrics[rule]["gap"] >= 0).all()
    assert "hindsight" in str(report)
    without = js.compare(reqs, rules, server=SERVER)
    assert "gap" not in without.metrics["smallest_volume"]


def test_a_bound_that_does_not_hold_on_the_server_is_refused():
    reqs = js.Requests.from_arrays([0.0], [3], [4])
    with pytest.raises(ValueError, match="admission is 'prompt', where the bound 'price'"):
        js.compare(reqs, ["fcfs"], server=SERVER.replace(admission="prompt"), bound="price")
