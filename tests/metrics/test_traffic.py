"""What recorded traffic is like."""

import numpy as np
import pytest

import jaxsched as js


def stream(at, prompt=None, output=None):
    n = len(at)
    return js.Requests.from_arrays(
        at, np.arange(1, n + 1) if prompt is None else prompt, [5] * n if output is None else output
    )


def test_rates_are_counts_of_full_bins():
    found = js.metrics.traffic(stream([10.0, 10.5, 11.0, 11.2, 13.5]))
    assert found.bin_s == 1
    assert found.rates.tolist() == [2, 2, 0]
    assert found.peak_rate == 2
    assert found.rate == pytest.approx(4 / 3.5)
    assert found.duration_s == 3.5


def test_a_long_log_has_wider_bins():
    found = js.metrics.traffic(stream(np.arange(0.0, 9000.0, 10)))
    assert (found.bin_s, len(found.rates)) == (120, 74)
    np.testing.assert_allclose(found.rates, 0.1)


def test_gaps_and_counts_of_a_poisson_process_vary_as_they_should():
    at = np.random.default_rng(0).exponential(0.05, 20_000).cumsum()
    found = js.metrics.traffic(stream(at))
    assert found.gap_cv == pytest.approx(1, abs=0.03)
    assert list(found.dispersion) == [1, 10, 60]
    assert found.dispersion[1] == pytest.approx(1, abs=0.15)
    regular = js.metrics.traffic(stream(np.arange(0, 300, 0.5)))
    assert regular.gap_cv == 0
    assert regular.dispersion == {1: 0, 10: 0}  # fewer than ten minutes


def test_lengths_are_described():
    found = js.metrics.traffic(stream([0.0, 1, 2, 3], [1, 2, 4, 9], [9, 4, 2, 1]))
    assert found.prompt_quantiles[[3, -1]].tolist() == [3, 9]
    assert (found.mean_prompt, found.mean_output) == (4, 4)
    assert found.correlation == pytest.approx(-1)
    assert np.isnan(js.metrics.traffic(stream([0.0, 1.0])).correlation)


def test_padding_is_left_out():
    reqs = js.stack([stream([0.0, 1.0, 5.0]), stream([0.0, 2.0])])[1]
    assert js.metrics.traffic(reqs).num_requests == 2


@pytest.mark.parametrize("at", [[3.0], [2.0, 2.0]])
def test_arrivals_that_span_no_time_are_refused(at):
    with pytest.raises(ValueError, match="reqs has no rate: its arrivals span no time"):
        js.metrics.traffic(stream(at))
