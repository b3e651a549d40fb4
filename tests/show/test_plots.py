"""Pictures show the numbers they are given."""

import sys
import types
from types import SimpleNamespace

import jax
import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

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


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestMeanBars:
    def test_bars_are_the_means_from_the_top_down(self, ax):
        js.plots.mean_bars(ESTIMATES, label="mean latency (rounds)", title="three", ax=ax)
        assert bars(ax) == [30, 12, 20]
        assert [label.get_text() for label in ax.get_yticklabels()] == list(ESTIMATES)
        assert ax.yaxis_inverted()
        assert texts(ax) == ["30.0", "12.0", "20"]  # as their intervals warrant
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
        assert ax.texts[-1].xy == (9.25, 3)  # in a row of its own, under the bars

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
        assert ax.get_xlabel() == "mean latency (rounds), lower is better"
        assert ax.get_title() == found.description

    def test_a_title_stands_above_the_sizes(self, batch, ax):
        found = js.compare(batch, ["fcfs"])
        found.plot(ax, title="workload uniform, server a")
        assert ax.get_title() == f"workload uniform, server a\n{found.description}"

    def test_has_no_line_for_a_bound_in_another_unit(self, batch, ax):
        clock = js.clock.PRESETS["llama3_8b_a100"]
        found = js.compare(batch, ["fcfs", "svf"], clock=clock)
        found.plot(ax)
        means = [each.mean for each in found.estimate("mean_latency_s").values()]
        assert bars(ax) == pytest.approx(means, rel=1e-5)
        assert not any("bound" in text for text in texts(ax))
        assert ax.get_xlabel() == "mean latency (s), lower is better"


def test_a_search_is_drawn_above_its_bound(ax):
    js.plots.search([0, 256, 300], [30.0, 26.0, 22.0], bound=20.0, ax=ax)
    latency, bound = ax.lines
    assert latency.get_ydata().tolist() == [30, 26, 22]
    assert set(bound.get_ydata()) == {20}
    assert "bound 20, gap 10.0%" in texts(ax)


class TestMemory:
    def test_profiles_end_where_nothing_is_held(self, batch, ax):
        inst = batch[0]
        schedules = {rule: js.simulate(inst, js.prioritize(inst, rule)) for rule in ("fcfs", "svf")}
        assert js.plots.memory(inst, schedules, title="t", ax=ax) is ax
        *drawn, capacity = ax.lines
        for line, sched in zip(drawn, schedules.values(), strict=True):
            assert line.get_ydata().tolist() == js.metrics.kv_profile(inst, sched).tolist()
        assert set(capacity.get_ydata()) == {int(inst.kv_capacity)}
        assert legend(ax) == ["fcfs", "svf", f"capacity {int(inst.kv_capacity)}"]
        assert ax.get_title() == "t"

    def test_one_schedule_has_no_name(self, batch, ax):
        inst = batch[0]
        js.plots.memory(inst, js.simulate(inst, js.policies.fcfs(inst)), ax=ax)
        assert legend(ax) == [f"capacity {int(inst.kv_capacity)}"]

    def test_profiles_are_still_taken(self, ax):
        profiles = {"before": [4, 7, 3, 0, 0], "after": [7, 7]}
        with pytest.warns(DeprecationWarning, match=r"use plots.memory\(inst"):
            js.plots.memory(profiles, kv_capacity=8, ax=ax)
        before, after, capacity = ax.lines
        assert before.get_ydata().tolist() == [4, 7, 3]
        assert after.get_ydata().tolist() == [7, 7]
        assert set(capacity.get_ydata()) == {8}

    def test_refusals_name_the_remedy(self, batch, ax):
        sched = js.simulate(batch, batch.output_tokens)
        with pytest.raises(ValueError, match=r"inst holds 6 instances; expected one, .*inst\[0\]"):
            js.plots.memory(batch, sched, ax=ax)
        with pytest.raises(ValueError, match="21 profiles; at most 20 can be told apart"):
            js.plots.memory(batch[0], dict.fromkeys("abcdefghijklmnopqrstu", sched[0]), ax=ax)
        with pytest.raises(ValueError, match="expected a schedule, or several by name"):
            js.plots.memory(batch[0], ax=ax)


class TestHeatmap:
    NAMES = types.MappingProxyType({"row_label": "rule", "column_label": "M"})

    def draw(self, values, **options):
        """On axes whose figure is laid out with a color bar."""
        ax = Figure(layout="constrained").subplots()
        rows, columns = np.shape(values)
        js.plots.heatmap(
            values, list("abcdefgh"[:rows]), range(columns), ax=ax, **self.NAMES, **options
        )
        return ax

    def bar(self, ax):
        (colors,) = (axes for axes in ax.figure.axes if axes is not ax)
        return colors

    def test_writes_every_number_in_its_place(self, ax):
        values = [[0.125, 0.25, 1234.4], [1.0, 0.0, NAN]]
        assert js.plots.heatmap(values, ["fcfs", "svf"], [8, 16, 32], **self.NAMES, ax=ax) is ax
        assert texts(ax) == ["0.12", "0.25", "1,234", "1.0", "0"]
        assert [text.get_position() for text in ax.texts][3] == (0, 1)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["fcfs", "svf"]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "16", "32"]
        with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(2, 2\)"):
            js.plots.heatmap(values, ["fcfs", "svf"], [8, 16], **self.NAMES, ax=ax)

    def test_shares_are_per_cent_with_two_digits(self):
        ax = self.draw([[7.387, 0.1623, 0.07802, -0.5]], is_share=True)
        assert texts(ax) == ["739%", "16%", "7.8%", "-50%"]

    def test_the_color_bar_says_what_the_colors_are(self):
        ax = self.draw([[0.1, 0.9]], is_share=True, label="gap, lower is better", title="t")
        bar = self.bar(ax)
        assert (bar.get_xlabel(), ax.get_title()) == ("gap, lower is better", "t")
        assert "40%" in [tick.get_text() for tick in bar.get_xticklabels()]

    @pytest.mark.parametrize(("bad", "limits"), [(900.0, (1, 5)), (-900.0, (1, 5)), (7.0, (1, 7))])
    def test_one_bad_rule_does_not_flatten_the_others(self, bad, limits):
        (image,) = self.draw([[bad, bad], [1, 2], [2, 3], [4, 5]]).images
        assert image.get_clim() == limits

    def test_an_arrow_shows_that_values_are_beyond_the_colors(self):
        def arrows(values):
            extent = self.bar(self.draw(values)).get_children()
            return sum(isinstance(each, PathPatch) for each in extent)

        others = [[1, 2, 3], [2, 3, 4]]
        assert arrows(others) == 0
        assert arrows([[900, 900, 900], *others]) == 1
        assert arrows([[900, 900, -900], *others, *others]) == 2

    def test_equal_numbers_are_not_far_from_each_other(self):
        (image,) = self.draw([[1, 1, 1], [1, 1, 9]]).images
        assert image.get_clim() == (1, 9)

    def test_numbers_too_small_to_read_are_left_to_the_colors(self):
        ax = Figure(figsize=(2, 2), layout="constrained").subplots()
        js.plots.heatmap(np.ones((30, 30)), range(30), range(30), ax=ax, **self.NAMES)
        assert texts(ax) == []


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
        assert legend(ax) == ["a", "b", "capacity 7"]
        assert self.bars(ax) == [
            [(0, 4, 0)],
            [(0, 1, 0)],
            [(1, 3, 1), (4, 7, 2)],
            [(1, 2, 1), (4, 5, 2)],
        ]
        (below,) = ax.child_axes
        capacity = below.lines[0]
        assert set(capacity.get_ydata()) == {7}
        assert (ax.get_title(), ax.get_xlabel(), ax.get_xlim()) == ("t", "round", (0, 7))
        held = below.collections[0].get_paths()[0].vertices
        for t, tokens in enumerate(js.metrics.kv_profile(inst, sched)):
            assert [t, tokens] in held.tolist()

    def test_padding_is_not_drawn(self, ax):
        batch = js.stack(
            [js.Instance.from_lengths(*each, kv_capacity=7) for each in self.PADDED[::-1]]
        )
        inst = batch[0]
        js.plots.schedule(inst, js.Schedule.from_starts(inst, [0, 0, 0]), ax=ax)
        assert self.bars(ax) == [[(0, 1, 0)], [(0, 1, 0)]]
        assert legend(ax) == ["short prompt, short output", "capacity 7"]

    def test_classes_are_lengths_unless_given(self, ax):
        inst = js.Instance.from_lengths([9, 1, 9, 1], [1, 9, 9, 1], kv_capacity=100)
        js.plots.schedule(inst, js.simulate(inst, [0, 1, 2, 3]), ax=ax)
        assert legend(ax) == [
            f"{prompt} prompt, {output} output"
            for prompt in ("long", "short")
            for output in ("long", "short")
        ] + ["capacity 100"]

    def test_two_thousand_requests_are_counted_and_the_picture_says_so(self, ax):
        inst = js.workloads.mixed(jax.random.key(0), 2000)
        sched = js.Schedule.from_starts(inst, range(2000))
        classes = np.arange(2000) % 2
        js.plots.schedule(inst, sched, labels=classes, ax=ax)
        assert ax.get_ylabel() == "requests\nrunning"
        assert ax.get_legend().get_title().get_text() == "2,000 requests, counted by class"
        even, odd = (each.get_data() for each in ax.patches)
        outputs = np.asarray(inst.output_tokens)
        for counts, parity in (even, 0), (odd, 1):
            lower = 0 if np.ndim(counts.baseline) == 0 else counts.baseline
            area = ((counts.values - lower) * np.diff(counts.edges)).sum()
            assert area == pytest.approx(outputs[parity::2].sum())

    def test_an_outcome_is_drawn_as_its_schedule(self, ax):
        inst = js.Instance.from_lengths(*self.PADDED[0], kv_capacity=7)
        sched = js.Schedule.from_starts(inst, [1, 0, 4])
        js.plots.schedule(inst, js.Outcome.from_schedule(inst, sched), ax=ax)
        other = Figure().subplots()
        assert self.bars(ax) == self.bars(js.plots.schedule(inst, sched, ax=other))

    def test_refusals_name_the_remedy(self, ax, batch):
        sched = js.simulate(batch, batch.output_tokens)
        with pytest.raises(
            ValueError, match=r"inst holds 6 instances; expected one, such as inst\[0\]"
        ):
            js.plots.schedule(batch, sched, ax=ax)
        one, its = batch[0], sched[0]
        with pytest.raises(ValueError, match=r"labels has shape \(1,\); expected .*60"):
            js.plots.schedule(one, its, labels=["a"], ax=ax)
        with pytest.raises(ValueError, match="classes of requests; at most 10"):
            js.plots.schedule(one, its, labels=range(60), ax=ax)


class TestLatencyCdf:
    def test_steps_up_at_each_completion(self, ax):
        inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=7)
        schedules = {
            "a": js.Schedule.from_starts(inst, [0, 0, 0]),
            "b": js.Schedule.from_starts(inst, [1, 0, 4]),
        }
        assert js.plots.latency_cdf(inst, schedules, title="t", ax=ax) is ax
        one, two = ax.lines
        assert one.get_xdata().tolist() == [0, 2, 3, 4]
        assert one.get_ydata() == pytest.approx([0, 1 / 3, 2 / 3, 1])
        assert two.get_xdata().tolist() == [0, 3, 4, 7]
        assert (legend(ax), ax.get_title()) == (["a", "b"], "t")
        assert ax.get_xlabel() == "latency (rounds), lower is better"

    def test_requests_of_all_instances_count_alike_and_padding_does_not(self, ax):
        inst = js.stack(
            [js.Instance.from_lengths(*each, kv_capacity=7) for each in TestSchedule.PADDED]
        )
        js.plots.latency_cdf(inst, js.Schedule.from_starts(inst, np.zeros((2, 3))), ax=ax)
        assert ax.lines[0].get_xdata().tolist() == [0, 1, 2, 3, 4]
        assert ax.get_legend() is None

    def test_a_clock_or_an_outcome_gives_seconds(self, batch, ax):
        clock = js.clock.PRESETS["llama3_8b_a100"]
        sched = js.simulate(batch, batch.output_tokens)
        js.plots.latency_cdf(batch, {"a": sched}, clock, ax=ax)
        out = js.Outcome.from_schedule(batch, sched, clock)
        js.plots.latency_cdf(batch, {"b": out}, ax=ax)
        assert ax.get_xlabel() == "latency (s), lower is better"
        assert np.array_equal(*(line.get_xydata() for line in ax.lines))
        with pytest.raises(ValueError, match="count rounds and seconds; expected one unit"):
            js.plots.latency_cdf(batch, {"a": sched, "b": out}, ax=ax)

    def test_latencies_are_still_taken(self, ax):
        latencies = {"a": [[4.0, 2.0], [8.0, NAN]], "b": [5.0]}
        with pytest.warns(DeprecationWarning, match=r"use plots.latency_cdf\(inst"):
            js.plots.latency_cdf(latencies, unit="s", ax=ax)
        one, two = ax.lines
        assert one.get_xdata().tolist() == [0, 2, 4, 8]
        assert two.get_xydata().tolist() == [[0, 0], [5, 1]]
        assert (legend(ax), ax.get_xlabel()) == (["a", "b"], "latency (s), lower is better")
        with (
            pytest.warns(DeprecationWarning, match="latency_cdf"),
            pytest.raises(ValueError, match="no latency to draw for 'a'"),
        ):
            js.plots.latency_cdf({"a": [NAN]}, ax=ax)

    def test_no_two_of_twenty_lines_are_alike(self, batch, ax):
        sched = js.simulate(batch, batch.output_tokens)
        names = [f"rule_{number}" for number in range(21)]
        js.plots.latency_cdf(batch, dict.fromkeys(names[:20], sched), ax=ax)
        styles = [(line.get_color(), line.get_linestyle()) for line in ax.lines]
        dashes = [str(line._dash_pattern) for line in ax.lines]
        assert len({*zip(styles, dashes, strict=True)}) == 20
        with pytest.raises(ValueError, match="21 schedules; at most 20"):
            js.plots.latency_cdf(batch, dict.fromkeys(names, sched), ax=ax)


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
    assert legend(ax)[-2:] == ["best validation: 6 after 10 steps", "svf 5.5"]


@pytest.mark.parametrize(("means", "scale"), [([9.0, 6.0], "linear"), ([90.0, 6.0], "log")])
def test_capacities_far_apart_in_latency_are_logarithmic(ax, means, scale):
    mean = np.array(means)
    curve = SimpleNamespace(at=np.array([10, 20]), mean=mean, low=mean - 1, high=mean + 1)
    arguments = {"target": 7.0, "needed": {"svf": 20}, "label": "mean (rounds)"}
    assert js.plots.capacity({"svf": curve}, **arguments, bound=curve, title="t", ax=ax) is ax
    assert ax.get_title() == "t"
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", scale, "mean (rounds)")


def test_bound_and_target_differ_in_color(ax):
    mean = np.array([9.0, 6.0])
    curve = SimpleNamespace(at=np.array([10, 20]), mean=mean, low=mean, high=mean)
    js.plots.capacity(
        {"svf": curve}, target=7, needed={"svf": 20}, label="", bound=curve, bound_label="b", ax=ax
    )
    rule, bound, target = (line.get_color() for line in ax.lines)
    assert len({rule, bound, target}) == 3
    assert legend(ax) == ["svf, needs 20", "b", "target 7"]
