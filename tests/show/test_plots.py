"""Pictures show the numbers they are given."""

import sys
from types import SimpleNamespace

import jax
import matplotlib
import numpy as np
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


def first(inst):
    return jax.tree.map(lambda leaf: leaf[0], inst)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestSchedule:
    PADDED = ([3, 1, 2], [2, 4, 3]), ([1], [1])

    def bars(self, ax):
        """Left, right and row of every bar drawn, by class: outputs, then prefills."""
        return [
            [
                (*sorted({x for x, _ in path.vertices}), round(path.vertices[:, 1].mean() - 0.5))
                for path in each.get_paths()
            ]
            for each in ax.collections
        ]

    def test_a_bar_for_each_request_over_the_memory(self, ax):
        inst = js.Instance.from_lengths(*self.PADDED[0], kv_capacity=7)
        sched = js.Schedule.from_starts(inst, [1, 0, 4])
        assert js.plots.schedule(inst, sched, labels=["b", "a", "b"], title="t", ax=ax) is ax
        assert legend(ax) == ["a", "b"]
        assert self.bars(ax) == [
            [(0, 4, 0)],
            [(0, 1, 0)],
            [(1, 3, 1), (4, 7, 2)],
            [(1, 2, 1), (4, 5, 2)],
        ]
        (below,) = ax.child_axes
        capacity = below.lines[0]
        assert set(capacity.get_ydata()) == {7}
        assert texts(below) == ["capacity 7"]
        assert (ax.get_title(), ax.get_xlabel(), ax.get_xlim()) == ("t", "round", (0, 7))
        held = below.collections[0].get_paths()[0].vertices
        for t, tokens in enumerate(js.metrics.kv_profile(inst, sched)):
            assert [t, tokens] in held.tolist()

    def test_padding_is_not_drawn(self, ax):
        batch = js.stack(
            [js.Instance.from_lengths(*each, kv_capacity=7) for each in self.PADDED[::-1]]
        )
        inst = first(batch)
        js.plots.schedule(inst, js.Schedule.from_starts(inst, [0, 0, 0]), ax=ax)
        assert self.bars(ax) == [[(0, 1, 0)], [(0, 1, 0)]]
        assert legend(ax) == ["short prompt, short output"]

    def test_classes_are_lengths_unless_given(self, ax):
        inst = js.Instance.from_lengths([9, 1, 9, 1], [1, 9, 9, 1], kv_capacity=100)
        js.plots.schedule(inst, js.simulate(inst, [0, 1, 2, 3]), ax=ax)
        assert legend(ax) == [
            f"{prompt} prompt, {output} output"
            for prompt in ("long", "short")
            for output in ("long", "short")
        ]

    def test_two_thousand_requests(self, ax):
        inst = js.workloads.mixed(jax.random.key(0), 2000)
        sched = js.Schedule.from_starts(inst, range(2000))
        js.plots.schedule(inst, sched, ax=ax)
        assert sum(len(each.get_paths()) for each in ax.collections) == 4000
        ax.figure.draw_without_rendering()

    def test_refusals_name_the_remedy(self, ax, batch):
        sched = js.simulate(batch, batch.output_tokens)
        with pytest.raises(ValueError, match="there are 6 instances; expected one"):
            js.plots.schedule(batch, sched, ax=ax)
        one, its = first(batch), first(sched)
        with pytest.raises(ValueError, match=r"labels has shape \(1,\); expected .*60"):
            js.plots.schedule(one, its, labels=["a"], ax=ax)
        with pytest.raises(ValueError, match="classes of requests; at most 5"):
            js.plots.schedule(one, its, labels=range(60), ax=ax)


class TestLatencyCdf:
    def test_steps_up_at_each_completion(self, ax):
        latencies = {"a": [[4.0, 2.0], [8.0, NAN]], "b": [5.0]}
        assert js.plots.latency_cdf(latencies, unit="s", ax=ax) is ax
        one, two = ax.lines
        assert one.get_xdata().tolist() == [0, 2, 4, 8]
        assert one.get_ydata() == pytest.approx([0, 1 / 3, 2 / 3, 1])
        assert two.get_xydata().tolist() == [[0, 0], [5, 1]]
        assert (legend(ax), ax.get_xlabel()) == (["a", "b"], "latency (s)")

    def test_nothing_to_draw_is_refused(self, ax):
        with pytest.raises(ValueError, match="'a' has no latency to draw"):
            js.plots.latency_cdf({"a": [NAN]}, ax=ax)
        with pytest.raises(ValueError, match="6 rules; at most 5"):
            js.plots.latency_cdf({name: [1] for name in "abcdef"}, ax=ax)


def test_ratios_are_drawn_on_logarithmic_axes(ax):
    ratios = {"fcfs": [4.0, 8.0], "sorted_f": [1.0, 1.0]}
    assert js.plots.ratio([64, 256], ratios, label="loss", title="t", ax=ax) is ax
    assert [line.get_ydata().tolist() for line in ax.lines] == [[4, 8], [1, 1]]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "loss")
    assert legend(ax) == list(ratios)


@pytest.mark.parametrize("num_steps", [1, 30])
def test_tuning_marks_the_best_rule(ax, num_steps):
    train = np.linspace(9, 5, num_steps)
    history = js.tuning.History(
        train=train, step=np.array([0, 10, 20]), validation=np.array([9.0, 6.0, 7.0])
    )
    assert js.plots.tuning(history, limit=5.5, limit_label="svf", ax=ax) is ax
    drawn, validation, best, star, limit = (line.get_xydata() for line in ax.lines)
    assert drawn.tolist() == [[step, value] for step, value in enumerate(train)]
    assert validation.tolist() == [[0, 9], [10, 6], [20, 7]]
    assert best.tolist() == [[0, 9], [10, 6], [20, 6]]
    assert star.tolist() == [[10, 6]]
    assert set(limit[:, 1]) == {5.5}
    assert texts(ax) == ["6"]
    assert legend(ax)[-1] == "svf 5.5"


@pytest.mark.parametrize(("means", "scale"), [([9.0, 6.0], "linear"), ([90.0, 6.0], "log")])
def test_capacities_far_apart_in_latency_are_logarithmic(ax, means, scale):
    mean = np.array(means)
    curve = SimpleNamespace(at=np.array([10, 20]), mean=mean, low=mean - 1, high=mean + 1)
    arguments = {"target": 7.0, "needed": {"svf": 20}, "label": "mean (rounds)"}
    assert js.plots.capacity({"svf": curve}, **arguments, bound=curve, ax=ax) is ax
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", scale, "mean (rounds)")
