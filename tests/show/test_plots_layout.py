"""Pictures can be read: no text over another or cut off, also in a column of a paper."""

import itertools
from types import SimpleNamespace

import jax
import matplotlib
import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxsched as js
from tests.engine.online.outcomes import columns_of, outcome_of, requests_of
from tests.engine.online.stored_logs import scenario_of

matplotlib.use("agg")

TITLE = "workload mixed, server llama2_70b_2xa100\n64 instances of 1000 requests, 16492 KV tokens"
LABEL = "mean latency (rounds), lower is better"
RULES = ("fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume")
LONG = "my_linear_score_with_a_long_name(log_volume=1.0)"
WIDE, COLUMN = 7.5, 3.3  # inches


def axes(width, height):
    return Figure(figsize=(width, height), layout="constrained").subplots()


def names(count, long=False):
    return [
        f"{LONG if long else RULES[n % 5]}{n // 5 or ''}{n if long else ''}" for n in range(count)
    ]


def placed(ax):
    """Every text of a picture once it is laid out, and where it stands, in pixels."""
    figure = ax.figure
    figure.draw_without_rendering()
    everything = [each for panel in figure.axes for each in (panel, *panel.child_axes)]
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    texts += [figure._suptitle] if figure.get_suptitle() else []
    for each in everything:
        texts += [each.title, each.xaxis.label, each.yaxis.label, *each.texts]
        if each.get_legend() is not None:
            texts += [each.get_legend().get_title(), *each.get_legend().get_texts()]
        for axis in (each.xaxis, each.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return [(text, text.get_window_extent()) for text in texts if text.get_text()]


def assert_readable(ax):
    texts = placed(ax)
    for text, box in texts:
        inside = min(box.x0, box.y0) > -1 and (box.max < ax.figure.bbox.size + 1).all()
        assert inside, f"{text.get_text()!r} is cut off"
        assert text.get_fontsize() >= 4.8, f"{text.get_text()!r} is too small"
    for (one, here), (other, there) in itertools.combinations(texts, 2):
        overlap = here.padded(-1).overlaps(there.padded(-1)) and not one.get_rotation() % 90
        assert not overlap, f"{one.get_text()!r} stands on {other.get_text()!r}"


@pytest.fixture(scope="module")
def batch():
    return js.workloads.mixed(jax.random.key(0), 40, batch=2)


@pytest.fixture(scope="module")
def schedules(batch):
    return [js.simulate(batch, js.prioritize(batch, rule)) for rule in RULES]


@pytest.mark.parametrize("width", [pytest.param(WIDE, marks=pytest.mark.slow), COLUMN])
class TestReadable:
    @pytest.mark.parametrize(
        ("count", "worst", "long"),
        [
            (1, 1900, False),
            (2, 1900, True),
            (5, 60_000, True),
            (16, 60_000, False),
            (16, 1900, True),
        ],
    )
    def test_mean_bars(self, width, count, worst, long):
        means = np.linspace(1000, worst, count)
        bars = {
            name: (m, 0.9 * m, 1.1 * m) for name, m in zip(names(count, long), means, strict=True)
        }
        ax = axes(width, 1.6 + (0.4 if long else 0.2) * count)
        js.plots.mean_bars(
            bars, label=LABEL, title=TITLE, limit=820.0, limit_label="volume bound", ax=ax
        )
        assert_readable(ax)

    @pytest.mark.parametrize(("count", "long"), [(1, False), (2, False), (5, True), (16, False)])
    def test_latency_cdf(self, width, count, long, batch, schedules):
        ax = axes(width, 3.6)
        given = {name: schedules[n % 5] for n, name in enumerate(names(count, long))}
        js.plots.latency_cdf(batch, given, title=TITLE, ax=ax)
        assert_readable(ax)

    @pytest.mark.parametrize("num_requests", [1, 40, 2000])
    def test_schedule(self, width, num_requests):
        inst = js.workloads.mixed(jax.random.key(0), num_requests)
        sched = js.Schedule.from_starts(inst, np.arange(num_requests) // 10)
        ax = axes(width, 3.0)
        js.plots.schedule(inst, sched, title="workload mixed", ax=ax)
        assert_readable(ax)

    @pytest.mark.parametrize("count", [1, 2, 5, 16])
    def test_heatmap(self, width, count):
        values = np.linspace(0.05, 0.9, 5 * count).reshape(count, 5)
        values[0] += 6
        ax = axes(width, 2.2 + 0.2 * count)
        js.plots.heatmap(
            values,
            [f"mixed, {name}" for name in names(count)],
            [4096, 8192, 16492, 32768, 65536],
            row_label="workload, rule",
            column_label="KV capacity (tokens)",
            label="mean gap to the volume bound, lower is better",
            is_share=True,
            ax=ax,
        )
        assert_readable(ax)

    @pytest.mark.parametrize(("count", "long"), [(1, True), (2, False), (5, False)])
    def test_capacity(self, width, count, long):
        at = np.geomspace(4096, 180_000, 20).astype(int)
        curves, needed = {}, {}
        for number, name in enumerate(names(count, long)):
            mean = 190 + 6000 / (1 + number) * (4096 / at) ** 1.3
            curves[name] = SimpleNamespace(at=at, mean=mean, low=0.9 * mean, high=1.1 * mean)
            needed[name] = int(at[np.argmax(mean < 400)])
        bound = SimpleNamespace(at=at, mean=180 + 500 * (4096 / at))
        ax = axes(width, 3.3)
        js.plots.capacity(
            curves,
            target=400.0,
            needed=needed,
            label=LABEL,
            bound=bound,
            bound_label="volume bound",
            title=TITLE,
            ax=ax,
        )
        assert_readable(ax)

    def test_servers_by_name(self, width):
        at = np.array(["llama2_70b_2xa100", "llama3_8b_a100", "llama2_70b_4xh100"])
        curve = SimpleNamespace(at=at, mean=np.array([9.0, 8, 7]), low=np.ones(3), high=np.ones(3))
        ax = axes(width, 3.0)
        js.plots.capacity(
            {"fcfs": curve},
            target=8.5,
            needed={"fcfs": at[1]},
            label=LABEL,
            ax=ax,
            capacity_label="",
        )
        assert_readable(ax)

    @pytest.mark.parametrize("count", [1, 5, 16])
    def test_ratio(self, width, count):
        ratios = {name: [1 + n, 2 + 3 * n, 3 + 9 * n] for n, name in enumerate(names(count))}
        ax = axes(width, 3.6)
        js.plots.ratio([64, 1024, 16384], ratios, title="built against fcfs", ax=ax)
        assert_readable(ax)

    def test_search_tuning_and_memory(self, width, batch, schedules):
        ax = axes(width, 2.6)
        js.plots.search([0, 500, 2000], [30.0, 22, 20.2], bound=20.0, title=TITLE, ax=ax)
        assert_readable(ax)
        history = js.tuning.History(
            train=np.linspace(9, 5, 30), step=np.array([0, 20]), validation=np.array([9.0, 6.0])
        )
        ax = axes(width, 3.0)
        js.plots.tuning(history, limit=5.5, limit_label="smallest_volume", title=TITLE, ax=ax)
        assert_readable(ax)
        ax = axes(width, 2.6)
        first = {name: sched[0] for name, sched in zip(RULES, schedules, strict=True)}
        js.plots.memory(batch[0], first, title=TITLE, ax=ax)
        assert_readable(ax)

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_service(self, width, count):
        scenario = scenario_of("recompute")
        log = scenario.log()
        out, columns = outcome_of(scenario, log), columns_of(log)
        figure = Figure(figsize=(width, 7.0), layout="constrained")
        shown = names(count)
        axes = js.plots.service(
            requests_of(scenario),
            dict.fromkeys(shown, out),
            dict.fromkeys(shown, columns),
            title=TITLE,
            figure=figure,
        )
        assert_readable(axes["ttft"])


@pytest.mark.parametrize("picture", ["mean_bars", "latency_cdf", "ratio"])
def test_names_are_never_cut(picture, batch, schedules):
    """Long names are broken into lines, with every letter left."""
    ax = axes(COLUMN, 3.0)
    if picture == "mean_bars":
        js.plots.mean_bars({LONG: (1.0, 1.0, 1.0)}, label="", ax=ax)
        (shown,) = ax.get_yticklabels()
    else:
        given = schedules[0] if picture == "latency_cdf" else [1.0, 2.0]
        first = batch if picture == "latency_cdf" else [64, 256]
        getattr(js.plots, picture)(first, {LONG: given}, ax=ax)
        (shown,) = ax.get_legend().get_texts()
    assert shown.get_text().replace("\n", "") == LONG


def test_legends_stand_off_the_lines(batch, schedules):
    ax = axes(WIDE, 3.0)
    js.plots.latency_cdf(batch, dict(zip(RULES, schedules, strict=True)), ax=ax)
    ax.figure.draw_without_rendering()
    legend, label = ax.get_legend().get_window_extent(), ax.xaxis.label.get_window_extent()
    assert legend.y1 <= label.y0 < ax.bbox.y0


def test_a_title_of_the_caller_does_not_meet_the_picture(batch, schedules):
    ax = axes(COLUMN, 3.0)
    js.plots.latency_cdf(batch, {"fcfs": schedules[0]}, ax=ax)
    ax.set_title("another")
    assert_readable(ax)


TEN = ("fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume", "sorted_f")
TEN += ("geometric_batching", "price_guided", "linear_score", "ageing_by_class")


def of_ten(picture, batch, schedules):
    """Ten series on axes that the picture makes itself."""
    first = {name: schedules[n % 5][0] for n, name in enumerate(TEN)}
    means = np.linspace(1000, 1900, 10)
    if picture == "mean_bars":
        bars = {name: (m, 0.9 * m, 1.1 * m) for name, m in zip(TEN, means, strict=True)}
        return js.plots.mean_bars(
            bars, label=LABEL, title=TITLE, limit=820.0, limit_label="volume bound"
        )
    if picture in ("latency_cdf", "memory"):
        return getattr(js.plots, picture)(batch[0], first, title=TITLE)
    if picture == "schedule":
        labels = [TEN[n % 10] for n in range(batch.prompt_tokens.shape[-1])]
        return js.plots.schedule(batch[0], first["fcfs"], labels=labels, title=TITLE)
    if picture == "ratio":
        ratios = {name: [1 + n, 2 + 3 * n, 3 + 9 * n] for n, name in enumerate(TEN)}
        return js.plots.ratio([64, 1024, 16384], ratios, title=TITLE)
    if picture == "heatmap":
        return js.plots.heatmap(
            *(np.linspace(0.05, 0.9, 50).reshape(10, 5), TEN, [4096, 8192, 16492, 32768, 65536]),
            row_label="rule",
            column_label="KV capacity (tokens)",
            label="mean gap to the volume bound, lower is better",
            is_share=True,
            title=TITLE,
        )
    at = np.geomspace(4, 40, 12)
    of_rules = {name: 1 / (1 + (at / (6 + 2 * n)) ** 4) for n, name in enumerate(TEN)}
    if picture == "load":
        metrics = {"attainment": of_rules, "p99_ttft_s": of_rules}
        return js.plots.load(at, metrics, targets={"attainment": 0.9}, title=TITLE)["attainment"]
    curves = {
        name: SimpleNamespace(at=at, mean=values, low=0.9 * values, high=1.1 * values)
        for name, values in of_rules.items()
    }
    return js.plots.capacity(
        curves, target=0.5, needed=dict.fromkeys(TEN, at[5]), label=LABEL, title=TITLE
    )


QUICK = ("mean_bars", "latency_cdf", "load")
SLOW = ("memory", "schedule", "ratio", "heatmap", "capacity")


@pytest.mark.parametrize(
    "picture", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)]
)
def test_ten_series_can_be_read_in_a_column_of_a_paper(picture, batch, schedules):
    with js.plots.figure_width(3.4):
        ax = of_ten(picture, batch, schedules)
    assert ax.figure.get_figwidth() == 3.4
    assert_readable(ax)
    matplotlib.pyplot.close(ax.figure)


def test_a_width_ends_with_its_block():
    with js.plots.figure_width(3.4), js.plots.figure_width(5):
        assert js.plots.new_axes(1).figure.get_figwidth() == 5
    assert js.plots.new_axes(1).figure.get_figwidth() == 7.5
    with pytest.raises(ValueError, match="inches is 1; expected a width of at least 2 inches"):
        js.plots.figure_width(1).__enter__()
    matplotlib.pyplot.close("all")


# What protanopes and deuteranopes see of linear RGB: Machado, Oliveira, Fernandes, 2009.
SIGHTS = (
    np.eye(3),
    [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
)


def oklab(color, sight):
    """Perceptual coordinates of a color: Ottosson, 2020."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    axes = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.array(axes) @ np.cbrt(cones @ np.clip(sight @ linear, 0, 1))


def test_ten_lines_have_colors_markers_and_dashes_of_their_own(batch, schedules):
    ax = of_ten("ratio", batch, schedules)
    colors = [line.get_color() for line in ax.lines]
    for sight in map(np.array, SIGHTS):
        seen = [oklab(color, sight) for color in (*colors, "black", "#D55E00")]
        distances = [np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)]
        assert min(distances) > 0.07
    assert len({line.get_marker() for line in ax.lines}) == 10
    assert [line.get_linestyle() for line in ax.lines] == ["-"] * 5 + ["--"] * 5
    matplotlib.pyplot.close(ax.figure)


@pytest.mark.parametrize("width", [WIDE, COLUMN])
@pytest.mark.parametrize("num_rows", [7, 5000])
def test_calibration(width, num_rows):
    rng = np.random.default_rng(0)
    measured = rng.uniform(5.0, 50.0, num_rows)
    found = SimpleNamespace(
        measured_ms=measured,
        predicted_ms=measured * rng.uniform(0.9, 1.1, num_rows),
        left_out_ms=measured * rng.uniform(0.5, 2.0, num_rows),
    )
    ax = js.plots.calibration(found, title=TITLE, ax=axes(width, 4.0))
    assert_readable(ax)
    assert max(len(line.get_xdata()) for line in ax.get_lines()) <= 2000
