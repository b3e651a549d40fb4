import itertools
import sys

import jax
import numpy as np
import pytest

from jaxsched import bounds
from jaxsched.bounds import _exact
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.model.verify import verify
from jaxsched.policies import prioritize
from jaxsched.workloads import three_partition, uniform
from tests.reference import clock_and_metrics as reference


def tiny(rng):
    n = int(rng.integers(1, 5))
    output = rng.integers(1, 5 if n < 4 else 4, n)
    prompt = rng.integers(1, 7, n)
    return prompt, output, int((prompt + output).max() + rng.integers(0, 8))


def test_equals_brute_force_on_tiny_instances():
    rng = np.random.default_rng(0)
    for _ in range(60):
        prompt, output, capacity = tiny(rng)
        inst = Instance.from_lengths(prompt, output, kv_capacity=capacity)
        found = bounds.exact(inst)
        best = reference.least_total_latency(prompt.tolist(), output.tolist(), capacity)
        assert (found.lower, found.upper, found.status) == (best, best, "optimal")
        assert int(found.schedule.completion.sum()) == best
        assert verify(inst, found.schedule).is_feasible


def test_between_the_bounds_and_what_rules_reach():
    rng = np.random.default_rng(1)
    for _ in range(5):
        output, prompt = rng.integers(1, 6, 7), rng.integers(1, 8, 7)
        inst = Instance.from_lengths(prompt, output, kv_capacity=20)
        found = bounds.exact(inst)
        assert found.status == "optimal"
        assert bounds.volume(inst) <= found.upper
        assert bounds.linear_program(inst) <= found.upper
        assert verify(inst, found.schedule).is_feasible
        for rule in ("smallest_volume", "shortest_output"):
            assert found.upper <= simulate(inst, prioritize(inst, rule)).completion.sum()


def test_a_planted_optimum_is_found():
    inst = three_partition(jax.random.key(0), num_triples=3, capacity=40)
    found = bounds.exact(inst)
    assert found.lower == found.upper == 3 * (1 + 2 + 3)


def test_no_strict_order_need_reach_it():
    # The last request starts in round 1 although it would fit in round 0.
    inst = Instance.from_lengths([6, 7, 1, 3], [2, 3, 3, 6], kv_capacity=17)
    found = bounds.exact(inst)
    assert found.upper == 17
    orders = np.array(list(itertools.permutations(range(4))))
    totals = np.asarray(simulate(stack([inst] * len(orders)), orders).completion).sum(axis=-1)
    assert totals.min() == 18


def test_padding_is_not_scheduled():
    short = Instance.from_lengths([3, 1], [2, 4], kv_capacity=6)
    longer = Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=6)
    both = stack([short, longer])
    padded = Instance(
        prompt_tokens=both.prompt_tokens[0],
        output_tokens=both.output_tokens[0],
        is_real=both.is_real[0],
        kv_capacity=both.kv_capacity[0],
    )
    found = bounds.exact(padded)
    assert found.schedule.start.tolist() == [*bounds.exact(short).schedule.start.tolist(), -1]


def test_when_time_is_up_there_is_a_schedule_and_a_gap():
    rng = np.random.default_rng(3)
    output, prompt = rng.integers(1, 12, 14), rng.integers(1, 8, 14)
    inst = Instance.from_lengths(prompt, output, kv_capacity=25)
    found = bounds.exact(inst, time_limit_s=1e-3)
    assert found.status == "time_limit"
    assert output.sum() <= found.lower < found.upper
    assert found.upper == found.schedule.completion.sum()
    assert found.upper <= np.cumsum(np.sort(output)).sum()  # one after another
    assert verify(inst, found.schedule).is_feasible


def test_with_little_time_it_is_no_worse_than_index_rules():
    rng = np.random.default_rng(1)
    for _ in range(3):
        output, prompt = rng.integers(1, 30, 20), rng.integers(1, 6, 20)
        inst = Instance.from_lengths(prompt, output, kv_capacity=36)
        found = bounds.exact(inst, time_limit_s=1e-3)
        assert verify(inst, found.schedule).is_feasible
        rules = "smallest_volume", "shortest_output", "total_size", "shortest_prompt", "fcfs"
        for rule, discipline in itertools.product(rules, ("strict", "earliest_fit")):
            sched = simulate(inst, prioritize(inst, rule), discipline=discipline)
            assert found.upper <= sched.completion.sum()


def test_too_large_is_named_with_size_and_limit(monkeypatch):
    inst = Instance.from_lengths([5] * 40, [50] * 40, kv_capacity=300)
    with pytest.raises(ValueError, match=r"40 requests over 2000 rounds has \d+ non-zeros; the"):
        bounds.exact(inst)
    monkeypatch.setattr(_exact, "MAX_NONZEROS", 5)
    with pytest.raises(ValueError, match="the limit is 5"):
        bounds.exact(Instance.from_lengths([3, 1], [2, 4], kv_capacity=8))


def test_uniform_backlogs_of_twelve_are_taken_and_those_of_sixty_are_not():
    largest = Instance.from_lengths([1] * 12, [49] * 12, kv_capacity=50)  # that it can draw
    found = bounds.exact(largest, time_limit_s=0.05)
    assert 0 < found.lower <= found.upper
    with pytest.raises(ValueError, match="non-zeros; the limit is"):
        bounds.exact(uniform(jax.random.key(5), num_requests=60))


def test_bad_arguments_are_named():
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match="time_limit_s is 0; expected seconds > 0"):
        bounds.exact(inst, time_limit_s=0)
    with pytest.raises(ValueError, match=r"one instance, not leading axes \(2,\)"):
        bounds.exact(stack([inst, inst]))
    with pytest.raises(ValueError, match="no real requests"):
        bounds.exact(inst.replace(is_real=np.zeros(2, bool)))


def test_a_missing_solver_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ImportError, match=r'pip install "jaxsched\[exact\]"'):
        bounds.exact(inst)


@pytest.mark.slow
def test_a_backlog_too_large_to_solve_is_no_worse_than_rules_that_search():
    rng = np.random.default_rng(1)
    prompt, output = rng.integers(1, 6, 20), rng.integers(1, 30, 20)
    inst = Instance.from_lengths(prompt, output, kv_capacity=36)
    found = bounds.exact(inst, time_limit_s=1e-3)
    for rule in ("sorted_f", "geometric", "price_guided"):
        for discipline in ("strict", "earliest_fit"):
            sched = simulate(inst, prioritize(inst, rule), discipline=discipline)
            assert found.upper <= sched.completion.sum()
