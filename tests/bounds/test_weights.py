"""Bounds on weighted latency: never above the optimum, and as without weights where all are 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched import bounds
from tests.reference import clock_and_metrics
from tests.reference.weighted import least_weighted_latency

N = 6
BOUNDS = {
    "volume": bounds.volume,
    "mean_busy": bounds.mean_busy,
    "price": lambda inst, **more: bounds.price(inst, num_steps=100, **more).value,
    "linear_program": bounds.linear_program,
}
PRICE_SLOWLY = ["volume", "mean_busy", pytest.param("price", marks=pytest.mark.slow)]
WITH_RELEASES = ["mean_busy", "price", "linear_program"]


def tiny(rng, most_late):
    """A few requests of few tokens: instance, releases, and their least weighted flow time."""
    n = int(rng.integers(1, N + 1))
    output = rng.integers(1, 5 if n < 5 else 4, n)
    prompt = rng.integers(1, 7, n)
    capacity = int((prompt + output).max() + rng.integers(0, 8))
    weight = [rng.choice([1.0, 2.0, 16.0], n), rng.lognormal(0, 1.5, n)][rng.integers(2)]
    release = rng.integers(0, most_late + 1, n)
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity, weight=weight)
    given = np.asarray(inst.weight, np.float64).tolist()  # as float32 has them
    lengths = prompt.tolist(), output.tolist(), capacity
    best = least_weighted_latency(*lengths, given, release.tolist())
    return inst, release, best


def tiny_batch(number, most_late, seed):
    rng = np.random.default_rng(seed)
    insts, releases, best = zip(*(tiny(rng, most_late) for _ in range(number)), strict=True)
    padded = [np.pad(release, (0, N - release.size)) for release in releases]
    longest = js.Instance.from_lengths([1] * N, [1] * N, kv_capacity=99, weight=[1.0] * N)
    return js.stack([*insts, longest])[:-1], np.stack(padded), np.array(best)


@pytest.fixture(scope="module")
def backlogs():
    return tiny_batch(300, 0, seed=0)


@pytest.fixture(scope="module")
def streams():
    return tiny_batch(200, 5, seed=1)


@pytest.fixture(scope="module")
def larger():
    """Weights apart by a factor of 100, and padding."""
    rng = np.random.default_rng(2)
    prompt, output = rng.integers(1, 60, (2, 4, 40))
    weight = rng.choice([1.0, 3.0, 100.0], (4, 40))
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=200, weight=weight)
    real = rng.random((4, 40)) < 0.8
    return inst.replace(
        is_real=jnp.asarray(real),
        prompt_tokens=jnp.where(real, inst.prompt_tokens, 1),
        output_tokens=jnp.where(real, inst.output_tokens, 1),
        weight=jnp.where(real, inst.weight, 1.0),
    )


def test_the_reference_agrees_with_the_one_without_weights():
    rng = np.random.default_rng(3)
    for _ in range(40):
        n = int(rng.integers(1, 5))
        output, prompt = rng.integers(1, 4, n).tolist(), rng.integers(1, 7, n).tolist()
        capacity = max(map(sum, zip(prompt, output, strict=True))) + int(rng.integers(0, 8))
        expected = clock_and_metrics.least_total_latency(prompt, output, capacity)
        assert least_weighted_latency(prompt, output, capacity, [1] * n, [0] * n) == expected


@pytest.mark.parametrize("name", BOUNDS)
def test_never_above_the_optimum(name, backlogs):
    inst, _, best = backlogs
    found = BOUNDS[name](inst)
    assert (found <= best).all()
    assert np.mean(found / best) > 0.6


@pytest.mark.parametrize("name", WITH_RELEASES)
def test_never_above_the_optimum_with_releases(name, streams):
    inst, release, best = streams
    found = BOUNDS[name](inst, release_rounds=release)
    assert (found <= best).all()
    assert np.mean(found / best) > 0.6


@pytest.mark.slow
def test_each_bound_is_at_least_the_one_that_it_begins_with(larger):
    assert (BOUNDS["price"](larger) >= bounds.mean_busy(larger)).all()


@pytest.mark.parametrize("name", PRICE_SLOWLY)
def test_weights_of_1_give_the_bound_without(name, larger):
    plain, ones = larger.replace(weight=None), larger.replace(weight=jnp.ones_like(larger.weight))
    tolerance = 1e-3 if name == "price" else 3e-9
    np.testing.assert_allclose(BOUNDS[name](ones), BOUNDS[name](plain), rtol=tolerance)


@pytest.mark.parametrize("name", PRICE_SLOWLY)
def test_scaling_all_weights_scales_the_bound(name, larger):
    scaled = larger.replace(weight=larger.weight * 0.25)
    tolerance = 1e-2 if name == "price" else 1e-12
    found, plain = BOUNDS[name](scaled), BOUNDS[name](larger)
    np.testing.assert_allclose(found, 0.25 * plain, rtol=tolerance)


@pytest.mark.parametrize("name", ["mean_busy", pytest.param("price", marks=pytest.mark.slow)])
def test_releases_of_weights_of_1_give_the_bound_without(name, streams):
    inst, release, _ = streams
    plain, ones = inst.replace(weight=None), inst.replace(weight=jnp.ones_like(inst.weight))
    found, expected = (BOUNDS[name](each, release_rounds=release) for each in (ones, plain))
    np.testing.assert_allclose(found, expected, rtol=3e-3)


@pytest.mark.parametrize("name", ["volume", "mean_busy"])
def test_the_same_inside_jit(name, larger):
    with jax.enable_x64(True):
        inside = jax.jit(BOUNDS[name])(larger)
    np.testing.assert_allclose(inside, BOUNDS[name](larger), rtol=1e-12)


@pytest.mark.parametrize("number", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_exact_finds_the_optimum(backlogs, streams, number):
    for (insts, releases, best), given in ((backlogs, False), (streams, True)):
        for row in range(number):
            release = releases[row] if given else None
            found = bounds.exact(insts[row], release_rounds=release)
            assert found.status == "optimal"
            np.testing.assert_allclose(found.upper, best[row], rtol=1e-6)
            assert found.lower <= best[row] * (1 + 1e-9)
            summary = js.metrics.summary(insts[row], found.schedule)
            weighted = summary["total_weighted_latency_rounds"]
            flow = weighted - np.sum(np.asarray(insts[row].weight) * releases[row] * given)
            np.testing.assert_allclose(found.upper, flow, rtol=1e-6)


def test_volume_takes_no_releases_with_weights(streams):
    inst, release, _ = streams
    with pytest.raises(ValueError, match="release_rounds goes with no weights"):
        bounds.volume(inst, release_rounds=release)
