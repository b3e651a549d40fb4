"""Arrivals and lengths, drawn."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxsched as js

matplotlib.use("agg")


@pytest.mark.parametrize(("seconds", "unit"), [(100, "s"), (3000, "minutes"), (9000, "hours")])
def test_rates_over_time_and_shares_of_lengths(seconds, unit):
    at = np.linspace(0, seconds, 501)
    reqs = js.Requests.from_arrays(at, np.arange(501) + 1, [7] * 501)
    figure = Figure(layout="constrained")
    axes = js.plots.traffic(reqs, title="a trace", figure=figure)
    assert list(axes) == ["rate", "tokens"]
    assert axes["rate"].get_xlabel() == f"time ({unit})"
    (stairs,) = axes["rate"].patches
    np.testing.assert_allclose(stairs.get_data().values, js.metrics.traffic(reqs).rates)
    prompt, output = axes["tokens"].get_lines()
    assert (prompt.get_xdata()[0], prompt.get_xdata()[-1]) == (1, 501)
    assert set(output.get_xdata()) == {7}
    assert prompt.get_ydata()[-1] == 1
    assert figure.get_suptitle() == "a trace"
