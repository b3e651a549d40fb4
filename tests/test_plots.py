"""Pictures show the numbers they are given."""

import sys

import jax
import matplotlib
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import jaxsched as js

matplotlib.use("agg")

NAN = float("nan")
ESTIMATES = {"fcfs": (30.0, 26.0, 33.0), "svf": (12.0, 10.0, 15.0), "alone": (20.0, NAN, NAN)}


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(scope="module")
def batch():
    return js.workloads.uniform(jax.random.key(0), batch=6)


def bars(ax):
    return [round(bar.get_width(), 6) for bar in ax.patches]


def lines(ax):
    """Vertical lines, by their place."""
    return [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]


def texts(ax):
    return [text.get_text() for text in ax.texts]


class TestMeanBars:
    def test_bars_are_the_means_from_the_top_down(self, ax):
        js.plots.mean_bars(ESTIMATES, label="mean latency (rounds)", title="three", ax=ax)
        assert bars(ax) == [30, 12, 20]
        assert [label.get_text() for label in ax.get_yticklabels()] == list(ESTIMATES)
        assert ax.yaxis_inverted()
        assert texts(ax) == ["30", "12", "20"]
        assert (ax.get_xlabel(), ax.get_title()) == ("mean latency (rounds)", "three")

    def test_intervals_are_drawn_where_there_are_any(self, ax):
        js.plots.mean_bars(ESTIMATES, label="", ax=ax)
        (whiskers,) = ax.collections
        drawn = [segment.tolist() for segment in whiskers.get_segments()]
        assert drawn == [[[26, 0], [33, 0]], [[10, 1], [15, 1]]]

    def test_a_limit_is_a_line_with_its_name(self, ax):
        js.plots.mean_bars(ESTIMATES, label="", limit=9.25, limit_label="volume bound", ax=ax)
        assert 9.25 in lines(ax)
        assert texts(ax)[-1] == "volume bound 9.25"

    def test_axes_are_made_unless_given(self, ax):
        assert js.plots.mean_bars(ESTIMATES, label="", ax=ax) is ax
        made = js.plots.mean_bars(ESTIMATES, label="")
        assert made is not ax
        pyplot.close(made.figure)

    def test_without_matplotlib_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=r'pip install "jaxsched\[plot\]"'):
            js.plots.mean_bars(ESTIMATES, label="")


class TestComparison:
    def test_draws_mean_latencies_and_the_bound(self, batch, ax):
        found = js.compare(batch, ["fcfs", "svf"])
        assert found.plot(ax) is ax
        means = [each.mean for each in found.estimate("mean_latency_rounds").values()]
        assert bars(ax) == pytest.approx(means)
        assert found.bound_on_mean_latency().mean in lines(ax)
        assert ax.get_xlabel() == "mean latency (rounds)"

    def test_has_no_line_for_a_bound_in_another_unit(self, batch, ax):
        clock = js.clock.PRESETS["llama3_8b_a100"]
        found = js.compare(batch, ["fcfs", "svf"], clock=clock)
        found.plot(ax)
        means = [each.mean for each in found.estimate("mean_latency_s").values()]
        assert bars(ax) == pytest.approx(means, rel=1e-5)
        assert not any("bound" in text for text in texts(ax))
        assert ax.get_xlabel() == "mean latency (s)"


def test_a_search_is_drawn_above_its_bound(ax):
    js.plots.search([0, 256, 300], [30.0, 26.0, 22.0], bound=20.0, ax=ax)
    latency, bound = ax.lines
    assert latency.get_ydata().tolist() == [30, 26, 22]
    assert set(bound.get_ydata()) == {20}
    assert "bound 20, gap 10.0%" in texts(ax)


def test_memory_profiles_end_where_nothing_is_held(ax):
    profiles = {"before": [4, 7, 3, 0, 0], "after": [7, 7]}
    js.plots.memory(profiles, kv_capacity=8, ax=ax)
    before, after, capacity = ax.lines
    assert before.get_ydata().tolist() == [4, 7, 3]
    assert after.get_ydata().tolist() == [7, 7]
    assert set(capacity.get_ydata()) == {8}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*profiles, "capacity"]


def test_more_profiles_than_colours_are_refused(ax):
    with pytest.raises(ValueError, match="6 profiles; at most 5 can be told apart"):
        js.plots.memory({name: [1] for name in "abcdef"}, ax=ax)


def test_heatmap_writes_every_number_in_its_place(ax):
    values = [[0.125, 0.25, 1234.4], [1.0, 0.0, 3.0]]
    names = {"row_label": "rule", "column_label": "M"}
    assert js.plots.heatmap(values, ["fcfs", "svf"], [8, 16, 32], **names, ax=ax) is ax
    assert texts(ax) == ["0.125", "0.25", "1234", "1", "0", "3"]
    assert [text.get_position() for text in ax.texts][3] == (0, 1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fcfs", "svf"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "16", "32"]
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(2, 2\)"):
        js.plots.heatmap(values, ["fcfs", "svf"], [8, 16], **names, ax=ax)
