"""Small backlogs whose optima are known: feasible, never beaten, and optimal by search."""

import jax
import numpy as np
import pytest

import jaxsched as js
from tests.reference.optimum import has_schedule_below

KNOWN = js.workloads.benchmark()
RULES = ("fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume", "sorted_f")
FEW = [place for place, name in enumerate(KNOWN.names) if int(name.rpartition("_")[2]) <= 7]


def one(place):
    inst = KNOWN.inst[place]
    real = np.asarray(inst.is_real)
    lengths = (np.asarray(each)[real].tolist() for each in (inst.prompt_tokens, inst.output_tokens))
    return *lengths, int(inst.kv_capacity)


def test_there_are_seven_sizes_of_six_families():
    sizes = KNOWN.inst.num_requests.tolist()
    assert sizes == list(range(6, 13)) * 6
    assert [int(name.rpartition("_")[2]) for name in KNOWN.names] == sizes
    assert len({name.rpartition("_")[0] for name in KNOWN.names}) == 6


def test_the_schedules_are_feasible_and_reach_the_optima():
    assert js.verify(KNOWN.inst, KNOWN.schedule).is_feasible.all()
    total = js.metrics.summary(KNOWN.inst, KNOWN.schedule)["total_latency_rounds"]
    np.testing.assert_array_equal(total, KNOWN.total_latency_rounds)


def test_no_bound_is_above_and_no_rule_below():
    inst, optimum = KNOWN.inst, KNOWN.total_latency_rounds
    for bound in (js.bounds.volume, js.bounds.mean_busy):
        assert (bound(inst) <= optimum).all()
    for discipline in ("strict", "earliest_fit"):
        found = js.compare(inst, RULES, bound=None, discipline=discipline)
        for rule in RULES:
            assert (found.metrics[rule]["total_latency_rounds"] >= optimum).all()


@pytest.mark.parametrize("place", [place for place in FEW if KNOWN.names[place].endswith("_6")])
def test_no_schedule_of_six_requests_is_better(place):
    optimum = int(KNOWN.total_latency_rounds[place])
    assert not has_schedule_below(*one(place), optimum)
    assert has_schedule_below(*one(place), optimum + 1)


@pytest.mark.slow
@pytest.mark.parametrize("place", [place for place in FEW if KNOWN.names[place].endswith("_7")])
def test_no_schedule_of_seven_requests_is_better(place):
    assert not has_schedule_below(*one(place), int(KNOWN.total_latency_rounds[place]))


@pytest.mark.slow
def test_the_solver_finds_the_same_optima():
    for place in FEW:
        best = js.bounds.exact(jax.tree.map(np.asarray, KNOWN.inst[place]))
        assert (best.upper, best.status) == (KNOWN.total_latency_rounds[place], "optimal")


def test_the_search_agrees_with_every_vector_of_starts():
    from tests.reference.clock_and_metrics import least_total_latency

    random = np.random.default_rng(2)
    for _ in range(20):
        prompt, output = random.integers(1, 6, 4).tolist(), random.integers(1, 4, 4).tolist()
        capacity = max(map(sum, zip(prompt, output, strict=True))) + int(random.integers(0, 6))
        best = least_total_latency(prompt, output, capacity)
        assert not has_schedule_below(prompt, output, capacity, best)
        assert has_schedule_below(prompt, output, capacity, best + 1)
