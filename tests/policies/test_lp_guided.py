"""Rules guided by a relaxation, the linear programme behind them, and the receding horizon."""

import itertools
import operator
import sys

import jax
import numpy as np
import pytest

from jaxsched.bounds import _linear_program
from jaxsched.bounds._linear_program import solve_time_indexed_lp
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies import prioritize
from jaxsched.policies.guided.lp_guided import (
    linear_program_starts,
    lp_swap,
    receding_horizon,
    sorted_lp,
)
from jaxsched.policies.selectors import multiplier_sweep
from jaxsched.policies.testing import check_policy
from tests.reference import sorted_f as reference
from tests.reference.strict_order import strict_order


def random_instances(seed, n, count):
    rng = np.random.default_rng(seed)
    prompt = rng.integers(1, 8, (count, n))
    output = rng.integers(1, 12, (count, n))
    return Instance.from_lengths(prompt, output, kv_capacity=rng.integers(20, 41, count))


def each(inst):
    for number in range(inst.kv_capacity.shape[0]):
        yield jax.tree.map(operator.itemgetter(number), inst)


def plain(inst):
    return inst.prompt_tokens.tolist(), inst.output_tokens.tolist(), int(inst.kv_capacity)


def usage(inst, start_share):
    """Tokens held in rounds 1..T by a solution of the linear programme."""
    n, num_starts = start_share.shape
    held = np.zeros(num_starts)
    for i, k in itertools.product(range(n), range(num_starts)):
        for t in range(k + 1, min(k + int(inst.output_tokens[i]), num_starts - 1) + 1):
            held[t] += (int(inst.prompt_tokens[i]) + t - k) * start_share[i, k]
    return held[1:]


def test_the_linear_programme_is_below_every_schedule():
    for inst in each(random_instances(seed=0, n=5, count=5)):
        prompt, output, capacity = plain(inst)
        best = min(
            sum(map(operator.add, strict_order(prompt, output, capacity, order), output))
            for order in map(list, itertools.permutations(range(5)))
        )
        values = [solve_time_indexed_lp(inst, horizon).value for horizon in (1, 4, 12, 60)]
        assert values == sorted(values)
        assert values[0] >= sum(output) - 1e-6
        assert values[-1] <= best + 1e-6
        assert values[-1] >= 0.7 * best


def test_its_solution_keeps_every_row():
    inst = next(each(random_instances(seed=1, n=8, count=1)))
    value, share = solve_time_indexed_lp(inst, horizon=25)
    np.testing.assert_allclose(share.sum(1), 1, atol=1e-6)
    assert share.min() >= -1e-9
    assert usage(inst, share).max() <= int(inst.kv_capacity) * (1 + 1e-6)
    latency = np.arange(26) + np.asarray(inst.output_tokens)[:, None]
    assert value == pytest.approx((latency * share).sum())


def test_everybody_starts_at_once_if_all_fit():
    inst = Instance.from_lengths([1, 2, 3], [5, 4, 2], kv_capacity=100)
    value, share = solve_time_indexed_lp(inst, horizon=11)
    assert value == pytest.approx(11)
    np.testing.assert_allclose(share[:, 0], 1)


def test_padding_takes_no_part_in_the_linear_programme():
    inst = next(each(random_instances(seed=2, n=4, count=1)))
    padded = next(each(stack([inst, next(each(random_instances(seed=2, n=6, count=1)))])))
    alone, together = solve_time_indexed_lp(inst, 20), solve_time_indexed_lp(padded, 20)
    assert together.value == pytest.approx(alone.value)
    assert (together.start_share[4:] == 0).all()


def test_bad_requests_to_the_linear_programme_are_named(monkeypatch):
    inst = next(each(random_instances(seed=2, n=4, count=1)))
    with pytest.raises(ValueError, match="horizon is 0; expected at least 1 round"):
        solve_time_indexed_lp(inst, 0)
    with pytest.raises(ValueError, match=r"one instance, not leading axes \(3,\)"):
        solve_time_indexed_lp(random_instances(seed=2, n=4, count=3), 20)
    large = Instance.from_lengths([1000] * 50, [500] * 50, kv_capacity=2000)
    # 50 * (20001 + sum of min(500, j) over j = 0..20000)
    num_nonzeros = 50 * (20001 + sum(min(500, j) for j in range(20001)))
    with pytest.raises(ValueError, match=rf"50 requests over 20000 rounds has {num_nonzeros} non"):
        solve_time_indexed_lp(large, 20_000)
    monkeypatch.setattr(_linear_program, "MAX_NONZEROS", 10)
    with pytest.raises(ValueError, match="the limit is 10: take fewer requests or a shorter"):
        solve_time_indexed_lp(inst, 20)


def test_a_missing_solver_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    inst = Instance.from_lengths([1, 2], [3, 4], kv_capacity=8)
    with pytest.raises(ImportError, match=r'pip install "jaxsched\[exact\]"'):
        prioritize(inst, sorted_lp())


def test_nonzeros_are_counted_before_anything_is_built(monkeypatch):
    """The count in the message is the length of the matrix's columns."""
    inst = next(each(random_instances(seed=3, n=6, count=1)))
    for horizon in (1, 5, 40):
        expected = sum(
            1 + min(o, horizon - k) for o in inst.output_tokens.tolist() for k in range(horizon + 1)
        )
        monkeypatch.setattr(_linear_program, "MAX_NONZEROS", expected)
        solve_time_indexed_lp(inst, horizon)
        monkeypatch.setattr(_linear_program, "MAX_NONZEROS", expected - 1)
        with pytest.raises(ValueError, match=f"has {expected} non-zeros"):
            solve_time_indexed_lp(inst, horizon)


def test_sorted_lp_follows_the_fractional_starts():
    inst = random_instances(seed=4, n=8, count=2)
    ranks = prioritize(inst, sorted_lp())
    for number, one in enumerate(each(inst)):
        starts = linear_program_starts(one)
        assert (np.diff(starts[np.argsort(ranks[number])]) >= 0).all()
    own = sorted_lp(lambda inst: np.asarray(inst.prompt_tokens) / 3)
    assert own(one).tolist() == (np.asarray(one.prompt_tokens) / 3).tolist()


def test_sorted_lp_is_close_to_its_own_bound():
    """The order is worth something: total latency within a quarter of the programme's value."""
    inst = random_instances(seed=5, n=15, count=3)
    total = simulate(inst, prioritize(inst, sorted_lp())).completion.sum(-1)
    for number, one in enumerate(each(inst)):
        bound = solve_time_indexed_lp(one, int(one.output_tokens.sum())).value
        assert bound <= int(total[number]) <= 1.25 * bound


def test_lp_swap_lowers_f_of_the_batches_of_the_order():
    inst = random_instances(seed=6, n=9, count=6)
    starts = np.random.default_rng(6).uniform(0, 50, (6, 9))
    for number, one in enumerate(each(inst)):
        prompt, output, capacity = plain(one)
        position = lp_swap(lambda _, number=number: starts[number])(one)
        order = np.argsort(position).tolist()
        assert sorted(position) == list(range(9))
        by_start = np.argsort(starts[number]).tolist()
        prefix = reference.best_prefix(prompt, output, capacity, by_start)
        fitting = (order[: k + 1] for k in range(9))
        least = min(
            reference.f_metric(output, batch)
            for batch in fitting
            if reference.tokens(prompt, output, batch) <= capacity
        )
        assert least <= reference.f_metric(output, prefix)


def test_lp_swap_cuts_batches_in_the_order_of_the_starts():
    # Alike, so that no swap helps; three fit.
    inst = Instance.from_lengths([1] * 9, [4] * 9, kv_capacity=15)
    position = lp_swap(lambda inst: np.array([5, 0.5, 3, 0.25, 9, 1, 8, 7, 6]))(inst)
    assert np.argsort(position).tolist() == [1, 3, 5, 0, 2, 8, 4, 6, 7]


@pytest.mark.slow
@pytest.mark.parametrize("make", [sorted_lp, lp_swap])
def test_lp_rules_keep_the_contract_of_a_rule(make):
    check_policy(make(), max_tokens=200)


def test_receding_horizon_decides_at_every_completion():
    selector = multiplier_sweep()
    inst = random_instances(seed=7, n=12, count=4)
    position = prioritize(inst, receding_horizon(selector))
    select = jax.jit(lambda one, left, free: selector(one)(left, free))
    for number, one in enumerate(each(inst)):

        def choose(requests, free, one=one):
            left = np.isin(np.arange(12), requests)
            return np.flatnonzero(select(one, left, np.int32(free))).tolist()

        decisions = reference.receding_horizon(*plain(one), choose)
        assert np.argsort(position[number]).tolist() == list(itertools.chain(*decisions))
        assert len(decisions) > 3


def test_receding_horizon_by_hand(x64):
    inst = Instance.from_lengths([3, 1, 6, 2, 1], [4, 5, 1, 2, 2], kv_capacity=10)
    assert prioritize(inst, receding_horizon()).tolist() == [4, 3, 0, 2, 1]


@pytest.mark.slow
def test_receding_horizon_keeps_the_contract_of_a_rule():
    check_policy(receding_horizon())


def test_receding_horizon_ends_if_the_selector_gives_up():
    def only_long_answers(inst):
        return lambda remaining, capacity: remaining & (inst.output_tokens == 5)

    inst = Instance.from_lengths([3, 1, 6, 2, 1], [4, 5, 1, 2, 2], kv_capacity=10)
    priority = prioritize(inst, receding_horizon(only_long_answers))
    np.testing.assert_array_equal(priority, [np.nan, 0, np.nan, np.nan, np.nan])
