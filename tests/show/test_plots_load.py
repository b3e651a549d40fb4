"""Service against load, drawn."""

import matplotlib
import numpy as np
import pytest

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means

matplotlib.use("agg")

AT = np.array([5.0, 10.0, 20.0, 40.0])


def values(rules, low=0.1, high=1.0):
    generator = np.random.default_rng(0)
    return {f"rule {k}": generator.uniform(low, high, (4, 6)) for k in range(rules)}


def test_lines_are_means_and_bands_their_intervals():
    drawn = values(1)
    ax = js.plots.load(AT, {"attainment": drawn}, targets={"attainment": 0.9})["attainment"]
    line, target = ax.get_lines()
    found = estimate_means(drawn["rule 0"])
    np.testing.assert_allclose(line.get_ydata(), found.mean)
    assert set(target.get_ydata()) == {0.9}
    (band,) = ax.collections
    box = band.get_paths()[0].get_extents()
    assert (box.y0, box.y1) == pytest.approx((found.low.min(), found.high.max()))
    assert ax.get_xscale() == "log"
    assert ax.get_ylim()[1] == pytest.approx(1.03)


def test_seconds_that_span_much_are_logarithmic_and_shares_are_not():
    grows = {rule: of * AT[:, None] ** 3 for rule, of in values(2, 0.9).items()}
    axes = js.plots.load(AT, {"attainment": values(2, 0.01), "p99_ttft_s": grows}, title="a trace")
    assert [ax.get_yscale() for ax in axes.values()] == ["linear", "log"]
    assert axes["p99_ttft_s"].get_ylabel() == "p99 TTFT (s)"
    assert not axes["attainment"].get_xlabel()


@pytest.mark.parametrize("rules", [6, 20])
def test_many_rules_are_told_apart_by_color_marker_and_dashes(rules):
    ax = js.plots.load(AT, {"goodput_requests_per_s": values(rules)})["goodput_requests_per_s"]
    looks = {
        (line.get_color(), line.get_marker(), str(line._dash_pattern)) for line in ax.get_lines()
    }
    assert len(looks) == rules
    assert len(ax.figure.legends[0].get_texts()) == rules
    assert ax.get_ylabel() == "goodput (requests/s)"


def test_rules_may_have_loads_of_their_own_and_single_values():
    drawn = {"a": [1.0, 0.5], "b": [1.0, 0.9, 0.1]}
    ax = js.plots.load({"a": [1, 2], "b": [1, 4, 8]}, {"attainment": drawn})["attainment"]
    assert [line.get_xdata().tolist() for line in ax.get_lines()] == [[1, 2], [1, 4, 8]]
    assert not ax.collections


def test_errors():
    with pytest.raises(ValueError, match="21 rules; at most 20 can be told apart"):
        js.plots.load(AT, {"attainment": values(21)})
    with pytest.raises(ValueError, match=r"values of 'a' has shape \(3,\) but there are 4 loads"):
        js.plots.load(AT, {"attainment": {"a": [1.0, 2.0, 3.0]}})
