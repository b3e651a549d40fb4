"""Predicted output lengths: their laws, their randomness, and what the engine makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.workloads import predict
from tests.reference import online
from tests.reference.online_settings import Settings

KEY = jax.random.key(5)
REQS = js.workloads.poisson(KEY, js.workloads.chat(jax.random.key(0), 2000, batch=4), 5.0)
TRUTH = np.asarray(REQS.output_tokens, np.float64)


def predicted(reqs=REQS, key=KEY, **options):
    found = predict(reqs, key, **options).predicted_output_tokens
    assert found.dtype == np.float32
    return np.asarray(found, np.float64)


def test_log_normal_errors_have_their_median_and_spread():
    error = np.log(predicted(sigma=0.8, bias=0.3) / TRUTH)
    assert error.mean() == pytest.approx(0.3, abs=0.03)
    assert error.std() == pytest.approx(0.8, rel=0.03)
    ratio = predicted(sigma=0.5, bias=-(0.5**2) / 2) / TRUTH
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(predicted(), TRUTH)


def test_one_key_gives_the_same_errors_on_every_scale():
    unit = np.log(predicted(sigma=1.0) / TRUTH)
    for sigma, bias in ((0.1, 0.0), (1.5, -0.7)):
        error = np.log(predicted(sigma=sigma, bias=bias) / TRUTH)
        np.testing.assert_allclose(error, bias + sigma * unit, atol=2e-6)
    assert not np.isclose(unit[0], unit[1]).any()
    assert np.mean(predicted(key=jax.random.key(6), sigma=1.0) != predicted(sigma=1.0)) > 0.99


def test_classes_are_powers_of_two_and_err_more_as_sigma_grows():
    reqs = js.Requests.from_arrays(np.zeros(9), [1] * 9, [1, 2, 3, 4, 5, 8, 9, 2**29 - 1, 2**29])
    expected = [1, 2, 4, 4, 8, 8, 16, 2**29, 2**29]
    np.testing.assert_array_equal(predicted(reqs, kind="classes"), expected)

    right = predicted(kind="classes")
    assert (right >= TRUTH).all()
    assert (right < 2 * TRUTH).all()
    wrong = [np.mean(predicted(kind="classes", sigma=each) != right) for each in (0.1, 0.5, 1.5)]
    assert 0.03 < wrong[0] < wrong[1] - 0.1 < wrong[2] - 0.2
    noisy = predicted(sigma=0.5)
    of_noisy = 2 ** np.maximum(0, np.ceil(np.log2(noisy)))
    np.testing.assert_array_equal(predicted(kind="classes", sigma=0.5), of_noisy)


def test_an_interval_holds_the_truth_and_widens_with_sigma():
    ends = {
        sigma: [predicted(kind="interval", sigma=sigma, end=end) for end in ("lower", "upper")]
        for sigma in (0.0, 0.5, 1.0)
    }
    for narrow, wide in ((0.0, 0.5), (0.5, 1.0)):
        assert (ends[wide][0] <= ends[narrow][0]).all()
        assert (ends[wide][1] >= ends[narrow][1]).all()
    np.testing.assert_array_equal(ends[0.0], [TRUTH, TRUTH])
    below, above = (np.log(end / TRUTH).ravel() for end in ends[1.0])
    assert below.max() < 1e-6
    assert above.min() > -1e-6
    assert below.mean() == pytest.approx(-np.sqrt(2 / np.pi), rel=0.03)
    assert abs(np.corrcoef(below, above)[0, 1]) < 0.05


@pytest.mark.parametrize("kind", ["lognormal", "classes", "interval"])
def test_inside_jit_in_batches_and_with_padding(kind, x64):
    del x64
    expected = predicted(kind=kind, sigma=0.7, bias=0.1)
    np.testing.assert_array_equal(predicted(REQS[:2], kind=kind, sigma=0.7, bias=0.1), expected[:2])

    def traced(sigma, bias):
        return predict(REQS, KEY, sigma=sigma, bias=bias, kind=kind).predicted_output_tokens

    found = jax.jit(traced)(jnp.float32(0.7), jnp.float32(0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-5 if kind != "classes" else 1)
    of_each = predicted(kind=kind, sigma=[0.7, 0.0, 0.7, 0.7], bias=0.1)
    np.testing.assert_array_equal(of_each[[0, 2, 3]], expected[[0, 2, 3]])

    padded = js.stack([REQS[0], js.Requests.from_arrays([0.0], [3], [5])])
    found = predict(padded, KEY, sigma=0.7, kind=kind)
    np.testing.assert_array_equal(found.predicted_output_tokens[1, 1:], 1)
    np.testing.assert_array_equal(found.is_real, padded.is_real)
    np.testing.assert_array_equal(found.output_tokens, padded.output_tokens)


def _streams():
    """Predictions of 0, of parts of a token and far above the cache, three streams of each."""
    rng = np.random.default_rng(0)
    arrival = np.sort(rng.integers(0, 15, (9, 8)), axis=1).astype(float)
    prompt, output = rng.integers(1, 9, (9, 8)), rng.integers(1, 9, (9, 8))
    far = rng.choice([0.0, 1.0, 1e4, 1e30], (3, 8))
    parts = rng.uniform(0, 6, (3, 8))
    believed = np.concatenate([np.zeros((3, 8)), parts, far]).astype(np.float32)
    reqs = js.Requests.from_arrays(arrival, prompt, output, predicted_output_tokens=believed)
    return reqs, believed


@pytest.mark.parametrize("admission", [pytest.param("peak", marks=pytest.mark.slow), "look_ahead"])
def test_admissions_take_every_prediction_and_let_a_passed_one_end_with_the_next_token(admission):
    """Against the plain Python engine, where ``max(predicted - generated, 1)`` steps are to go."""
    reqs, believed = _streams()
    server = js.Server(kv_capacity=24, block_size=2, admission=admission)
    out = js.serve(reqs, server, "fcfs")
    settings = Settings(num_gpu_blocks=13, block_size=2, admission=admission)
    for row in range(len(believed)):
        tokens = np.ceil(np.minimum(believed[row], 2**30)).astype(int)
        log = online.serve(
            np.asarray(reqs.arrival_s)[row],
            np.asarray(reqs.prompt_tokens)[row],
            np.asarray(reqs.output_tokens)[row],
            settings,
            (1.0, 0.0, 0.0, 0.0, 0.0),
            predicted=np.maximum(tokens, 1).tolist(),
        )
        np.testing.assert_array_equal(out.completion[row], log.out_finish_time)
        np.testing.assert_array_equal(out.num_preemptions[row], log.out_preemptions)
    assert out.num_preemptions[:3].sum() > 0  # believed to be about to end, they overflow
    assert (np.asarray(out.status) == js.Status.OK).all()


def test_rules_see_predictions_as_whole_tokens():
    reqs = js.Requests.from_arrays(
        [0.0] * 4, [1] * 4, [5, 5, 5, 5], predicted_output_tokens=[3.2, 1e30, 0.0, 2.5]
    )
    server = js.Server(kv_capacity=6, block_size=1)
    out = js.serve(reqs, server, "shortest_output")
    np.testing.assert_array_equal(np.argsort(out.completion), [2, 3, 0, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": -0.1}, "sigma is -0.1; expected a finite number >= 0"),
        ({"bias": np.inf}, "bias is inf; expected a finite number"),
        ({"sigma": [0.1, 0.2]}, r"sigma has shape \(2,\); expected one number, or \(4,\)"),
        ({"kind": "log-normal"}, "kind is 'log-normal'; did you mean 'lognormal'"),
        ({"end": "up"}, "end is 'up'; "),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        predict(REQS, KEY, **options)
