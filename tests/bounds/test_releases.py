"""Requests that cannot start before their release rounds: every bound, against brute force."""

import operator
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxsched import bounds
from jaxsched.bounds._price_ascent import ascend
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.model.verify import verify
from tests.reference import flow_time as reference

N, COUNT, BLOCKS = 4, 64, 32  # one shape for nearly all tests: few programs to compile


class Case(NamedTuple):
    prompt: list
    output: list
    release: list
    capacity: int

    @property
    def instance(self):
        return Instance.from_lengths(self.prompt, self.output, kv_capacity=self.capacity)


def tiny_cases(seed, count):
    """1 to 4 requests, from all at once to nearly all apart."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(count):
        n = N if number == 0 else int(rng.integers(1, N + 1))
        output = rng.integers(1, 6 if n < 4 else 5, n)
        prompt = rng.integers(1, 8, n)
        release = rng.integers(0, rng.integers(1, 14), n) + rng.integers(0, 3)
        capacity = (prompt + output).max() + rng.integers(0, 9)
        cases.append(Case(prompt.tolist(), output.tolist(), release.tolist(), int(capacity)))
    return cases


def together(cases):
    """One padded batch, and its releases; those of padding mean nothing."""
    inst = stack([case.instance for case in cases])
    return inst, np.stack([np.pad(c.release, (0, N - len(c.release))) for c in cases])


@pytest.fixture(scope="module", params=[COUNT, pytest.param(32 * COUNT, marks=pytest.mark.slow)])
def tiny(request):
    cases = tiny_cases(seed=0, count=request.param)
    return cases, np.array([reference.least_flow_time(*case) for case in cases])


def test_the_oracle_is_the_one_of_a_backlog_where_all_are_released_at_once():
    from tests.reference.clock_and_metrics import least_total_latency

    for prompt, output, _, capacity in tiny_cases(seed=1, count=30):
        if len(prompt) < 4:
            best = least_total_latency(prompt, output, capacity)
            assert reference.least_flow_time(prompt, output, [0] * len(prompt), capacity) == best


def test_closed_forms_are_never_above_the_optimum(tiny):
    cases, best = tiny
    inst, release = together(cases)
    for bound in (bounds.mean_busy, bounds.volume):
        ratio = bound(inst, release_rounds=release) / best
        assert ratio.max() <= 1
        assert ratio.max() > 0.9
        assert ratio.mean() > 0.65


@pytest.mark.parametrize("horizon", [None, pytest.param("random", marks=pytest.mark.slow)])
def test_price_is_never_above_the_optimum(tiny, horizon):
    cases, best = tiny
    inst, release = together(cases)
    if horizon == "random":  # also before the last release
        horizon = np.random.default_rng(2).integers(1, 20, len(cases))
    found = bounds.price(inst, release_rounds=release, horizon=horizon, num_blocks=BLOCKS)
    ratio = found.value / best
    assert ratio.max() <= 1
    assert ratio.max() > 1 - 1e-6
    assert ratio.mean() > 0.9
    assert (found.best_starts >= np.where(inst.is_real, release, -1)).all()


@pytest.mark.parametrize("num_blocks", [pytest.param(5, marks=pytest.mark.slow), BLOCKS])
def test_the_value_of_price_is_the_formula_at_its_own_prices(num_blocks):
    cases = tiny_cases(seed=3, count=COUNT)
    inst, release = together(cases)
    found = bounds.price(inst, release_rounds=release, num_blocks=num_blocks, num_steps=20)
    for number, case in enumerate(cases[:60]):
        row = jax.tree.map(operator.itemgetter(number), found)
        assert row.edges[0] == min(case.release)
        price = np.concatenate(
            [np.zeros(row.edges[0]), np.repeat(row.prices, np.diff(row.edges)), np.zeros(40)]
        )

        def cost(s, o, k, price=price):
            return k + o + sum(price[t - 1] * (s + t - k) for t in range(k + 1, k + o + 1))

        expected = -case.capacity * price.sum()
        for s, o, a in zip(case.prompt, case.output, case.release, strict=True):
            expected += min(cost(s, o, k) for k in range(a, max(a, row.edges[-1]) + 1)) - a
        assert expected - 3e-9 * (1 + abs(expected)) <= row.value <= expected + 1e-12


def in_scipy(case, horizon):
    """The linear programme, written down anew, with its optimum."""
    columns, latency = [], []
    n = len(case.prompt)
    for i, (s, o, a) in enumerate(zip(case.prompt, case.output, case.release, strict=True)):
        for k in range(a, max(a, horizon) + 1):
            column = np.zeros(n + horizon)
            column[i] = 1
            for t in range(k + 1, min(k + o, horizon) + 1):
                column[n + t - 1] = s + t - k
            columns.append(column)
            latency.append(k + o - a)
    matrix = np.stack(columns, axis=1)
    limits = {"A_ub": matrix[n:], "b_ub": np.full(horizon, case.capacity)}
    return linprog(latency, A_eq=matrix[:n], b_eq=np.ones(n), **limits).fun


def test_linear_program_is_the_optimum_of_its_programme(tiny):
    cases, best = tiny
    rng = np.random.default_rng(4)
    for case, optimum in zip(cases[:30], best[:30].tolist(), strict=True):
        horizon = int(rng.integers(1, 20))
        options = {"release_rounds": case.release}
        at_horizon = float(bounds.linear_program(case.instance, horizon, **options))
        assert at_horizon == pytest.approx(in_scipy(case, horizon), rel=1e-6)
        longest = float(bounds.linear_program(case.instance, **options))
        assert at_horizon <= longest * (1 + 1e-6)
        assert longest <= optimum


def test_price_tends_to_linear_program_at_the_same_horizon():
    cases = tiny_cases(seed=5, count=COUNT)
    inst, release = together(cases)
    horizon = np.random.default_rng(6).integers(1, 30, COUNT)
    options = {"release_rounds": release, "horizon": horizon, "num_blocks": BLOCKS}
    value = bounds.price(inst, **options).value
    few = range(30)
    limit = [
        float(bounds.linear_program(cases[i].instance, horizon[i], release_rounds=release_of(i)))
        for i in few
        for release_of in [lambda i: cases[i].release]
    ]
    ratio = value[few] / limit
    assert ratio.max() <= 1 + 1e-6
    assert ratio.min() >= 0.985
    assert ratio.mean() >= 0.999


@pytest.mark.parametrize("count", [40, pytest.param(600, marks=pytest.mark.slow)])
def test_exact_equals_brute_force(count):
    for case in tiny_cases(seed=7, count=count):
        found = bounds.exact(case.instance, release_rounds=case.release)
        best = reference.least_flow_time(*case)
        assert (found.lower, found.upper, found.status) == (best, best, "optimal")
        assert (found.schedule.start >= np.asarray(case.release)).all()
        assert (found.schedule.completion - np.asarray(case.release)).sum() == best
        assert verify(case.instance, found.schedule).is_feasible


def test_mean_busy_equals_the_fluid_in_fractions():
    cases = tiny_cases(seed=8, count=COUNT)
    rng = np.random.default_rng(9)
    for _ in range(40):
        output, prompt = rng.integers(1, 30, 4), rng.integers(1, 40, 4)
        release = rng.integers(0, 200, 4)
        cases.append(Case(prompt.tolist(), output.tolist(), release.tolist(), 70))
    inst, release = together(cases)
    found = bounds.mean_busy(inst, release_rounds=release)
    for value, case in zip(found, cases, strict=True):
        expected = reference.mean_busy_bound(*case)
        assert expected * (1 - Fraction(2, 10**9)) <= Fraction(value) <= expected


def test_price_begins_at_mean_busy():
    inst, release = together(tiny_cases(seed=10, count=COUNT))
    start = bounds.price(inst, release_rounds=release, num_steps=0, num_blocks=BLOCKS)
    assert (start.value >= bounds.mean_busy(inst, release_rounds=release) * (1 - 2e-9)).all()


def every_bound(inst, **options):
    yield bounds.mean_busy(inst, **options)
    yield bounds.volume(inst, **options)
    found = bounds.price(inst, num_blocks=BLOCKS, num_steps=100, **options)
    yield found.value
    yield found.prices
    few = jax.tree.map(operator.itemgetter(slice(8)), inst)
    options = {name: value[..., :8, :] for name, value in options.items()}
    yield bounds.linear_program(few, **options)


def test_without_releases_and_with_all_at_once_nothing_changes():
    inst, release = together(tiny_cases(seed=11, count=COUNT))
    for plain, zero, late in zip(
        every_bound(inst),
        every_bound(inst, release_rounds=np.zeros_like(release)),
        every_bound(inst, release_rounds=np.full_like(release, 1000)),
        strict=True,
    ):
        np.testing.assert_array_equal(plain, zero)
        np.testing.assert_array_equal(plain, late)


def test_a_shift_of_all_releases_and_those_of_padding_change_nothing():
    inst, release = together(tiny_cases(seed=12, count=COUNT))
    shift = np.random.default_rng(13).integers(0, 10**6, (COUNT, 1))
    padding = np.where(inst.is_real, 0, 77)
    for here, there in zip(
        every_bound(inst, release_rounds=release),
        every_bound(inst, release_rounds=release + shift + padding),
        strict=True,
    ):
        np.testing.assert_array_equal(here, there)
    case = tiny_cases(seed=12, count=1)[0]
    found, shifted = (
        bounds.exact(case.instance, release_rounds=np.asarray(case.release) + each)
        for each in (0, 1000)
    )
    assert found.upper == shifted.upper
    np.testing.assert_array_equal(found.schedule.start + 1000, shifted.schedule.start)


def test_later_releases_leave_less_to_wait_for():
    """Requests so far apart that none waits cost their outputs."""
    inst = Instance.from_lengths([3, 5, 2], [4, 2, 6], kv_capacity=9)
    for value in every_bound_of_one(inst, [0, 50, 100]):
        assert value == pytest.approx(12, rel=1e-8)
    assert bounds.exact(inst, release_rounds=[0, 50, 100]).upper == 12


def every_bound_of_one(inst, release):
    yield bounds.volume(inst, release_rounds=release)
    yield bounds.price(inst, release_rounds=release).value
    yield bounds.linear_program(inst, release_rounds=release)


@pytest.mark.parametrize("name", ["mean_busy", "volume"])
def test_closed_forms_run_inside_jit_and_vmap(name):
    bound = getattr(bounds, name)
    inst, release = together(tiny_cases(seed=14, count=COUNT))
    expected = bound(inst, release_rounds=release)

    def of_one(inst, release):
        return bound(inst, release_rounds=release)

    traced = jnp.asarray(release, jnp.int32)
    found = jax.jit(jax.vmap(of_one))(inst, traced)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_other_releases_compile_nothing():
    inst, release = together(tiny_cases(seed=15, count=COUNT))
    options = {"num_blocks": BLOCKS, "horizon": 40}
    bounds.price(inst, release_rounds=release, num_steps=5, **options)
    before = ascend._cache_size()
    bounds.price(inst, release_rounds=release[::-1], num_steps=7, **options)
    bounds.price(inst, release_rounds=release[0], num_steps=7, **options)
    assert ascend._cache_size() == before


@pytest.mark.parametrize("name", ["mean_busy", "volume", "price", "linear_program", "exact"])
@pytest.mark.parametrize(
    ("release", "message"),
    [
        ([0, -2], r"release_rounds\[1\] is -2; expected a round >= 0"),
        ([0.0, 2.5], "release_rounds has dtype float64; expected whole rounds"),
        ([0, 1, 2], r"release_rounds has shape \(3,\); expected one round a request, \(2,\)"),
        ([0, 2**31 - 7], r"release_rounds\[1\] is 2147483641; expected so few that .* split the"),
    ],
)
def test_bad_releases_are_named(name, release, message):
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match=message):
        getattr(bounds, name)(inst, release_rounds=release)
