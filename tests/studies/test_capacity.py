"""The least memory that meets a target, beside every capacity tried one by one."""

import dataclasses
import functools

import jax
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxsched as js
from tests.reference.clock_and_metrics import elapsed_s, summary, volume_bound
from tests.reference.strict_order import strict_order

matplotlib.use("agg")

CLOCK = js.clock.LinearClock(30.0, 4.0, 1.0, 0.1, 0.02)
ORDERS = {
    "fcfs": lambda s, o: list(range(len(s))),
    "shortest_output": lambda s, o: sorted(range(len(s)), key=lambda i: (o[i], i)),
    "smallest_volume": lambda s, o: sorted(
        range(len(s)), key=lambda i: (s[i] * o[i] + o[i] * (o[i] + 1) // 2, i)
    ),
}
METRICS = {"mean": "mean_latency", "p95": "p95_latency", "p99": "p99_latency"}


@functools.cache
def backlogs(seed, count=3, n=4, most=3):
    """Requests so small that all capacities fit one grid, as lists."""
    generator = np.random.default_rng(seed)
    return generator.integers(1, most + 1, (2, count, n)).tolist()


def instance(prompt, output):
    return js.Instance.from_lengths(prompt, output, kv_capacity=1000)


def oracle(prompt, output, rule, capacity, metric, clock=None):
    """The metric of one backlog in plain Python."""
    start = strict_order(prompt, output, capacity, ORDERS[rule](prompt, output))
    found = summary(prompt, output, start, clock and tuple(map(float, clock)))
    unit = "rounds" if clock is None else "s"
    return found[f"{METRICS.get(metric, metric)}_{unit}"]


def oracle_curve(lengths, rule, metric, clock=None):
    """Mean over backlogs at every capacity from the largest request to room for all."""
    pairs = list(zip(*lengths, strict=True))
    least = max(a + b for s, o in pairs for a, b in zip(s, o, strict=True))
    most = max(sum(s) + sum(o) for s, o in pairs)
    return {
        capacity: np.mean([oracle(s, o, rule, capacity, metric, clock) for s, o in pairs])
        for capacity in range(least, most + 1)
    }


@pytest.mark.parametrize("rule", ORDERS)
@pytest.mark.parametrize("metric", ["mean", "p95", "p99", "makespan"])
def test_every_capacity_is_tried_where_there_are_few(rule, metric):
    for seed in range(3):
        curve = oracle_curve(backlogs(seed), rule, metric)
        for target in np.unique([*curve.values()])[::3]:
            plan = js.plan_capacity(
                instance(*backlogs(seed)), rule, (metric, target + 1e-9), bound=None
            )
            enough = [capacity for capacity, value in curve.items() if value <= target + 1e-9]
            assert plan.capacity == {rule: enough[0]}
            assert plan.curve[rule].at.tolist() == list(curve)
            assert plan.curve[rule].mean == pytest.approx(list(curve.values()))
            above = [c for c, value in curve.items() if value > target + 1e-9 and c > enough[0]]
            assert plan.missed_again[rule] == (above[0] if above else None)


def test_seconds_come_from_the_clock():
    # Milliseconds that make binary fractions of a second, and means over four of four: all sums
    # and quotients are exact in float64, in any order. The target is a tie, not nearly one.
    coefficients = 3000.0, 500.0, 125.0, 15.625, 3.90625
    clock, lengths = js.clock.LinearClock(*coefficients), backlogs(1, count=4)
    curve = oracle_curve(lengths, "fcfs", "mean", coefficients)
    target = sorted(curve.values())[len(curve) // 2]
    plan = js.plan_capacity(instance(*lengths), "fcfs", ("mean", target), clock=clock)
    assert plan.curve["fcfs"].mean.tolist() == list(curve.values())
    assert plan.capacity["fcfs"] == next(c for c, value in curve.items() if value <= target)
    assert curve[plan.capacity["fcfs"]] == target
    assert (plan.target.unit, plan.bound_capacity) == ("s", None)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_bracket_is_cut_down_to_one_token(seed):
    lengths = backlogs(seed, count=2, n=8, most=40)
    target = 28.0
    inst = instance(*lengths)
    plan = js.plan_capacity(inst, ["fcfs", "smallest_volume"], ("mean", target))
    pairs = list(zip(*lengths, strict=True))
    for rule, need in plan.capacity.items():
        at, mean = plan.curve[rule].at, plan.curve[rule].mean
        assert (mean[at < need] > target).all()
        assert need - 1 in at  # and so just missed
        for capacity in (need - 1, need):
            expected = np.mean([oracle(s, o, rule, capacity, "mean") for s, o in pairs])
            assert mean[at.tolist().index(capacity)] == pytest.approx(expected)


def test_limits_of_the_interval_are_crossings_of_the_limits():
    plan = js.plan_capacity(
        instance(*backlogs(2, count=5, n=8, most=12)), "smallest_volume", ("mean", 12)
    )
    curve, (low, high) = plan.curve["smallest_volume"], plan.interval["smallest_volume"]
    assert low < plan.capacity["smallest_volume"] < high
    for values, found in ((curve.low, low), (curve.high, high)):
        place = curve.at.tolist().index(found)
        assert values[place] <= 12 < values[place - 1]
        assert curve.at[place - 1] == found - 1


def test_an_upper_limit_that_never_meets_the_target_is_none():
    lengths = backlogs(2, count=5, n=8, most=12)
    alone = np.mean(lengths[1])
    plan = js.plan_capacity(instance(*lengths), "fcfs", ("mean", alone + 0.01))
    assert plan.interval["fcfs"][1] is None
    assert "from " in str(plan)


def test_one_instance_has_no_interval():
    inst = jax.tree.map(lambda leaf: leaf[0], instance(*backlogs(0)))
    plan = js.plan_capacity(inst, "fcfs", ("makespan", 9))
    assert plan.interval == {"fcfs": None}
    assert plan.interval_name is None
    assert np.isnan(plan.curve["fcfs"].low).all()


def test_bootstrap_is_deterministic_for_a_key():
    inst = instance(*backlogs(2, count=5, n=8, most=12))
    key = jax.random.key(3)
    first, again = (js.plan_capacity(inst, "fcfs", ("mean", 12), key=key) for _ in range(2))
    assert first.interval == again.interval
    assert first.interval_name == "95% bootstrap"


def test_no_rule_needs_less_than_the_bound_says():
    lengths = backlogs(0, count=2, n=8, most=40)
    plan = js.plan_capacity(instance(*lengths), list(ORDERS), ("mean", 28))
    pairs = list(zip(*lengths, strict=True))

    def bound(capacity):
        return np.mean([volume_bound(s, o, capacity) / len(s) for s, o in pairs])

    assert bound(plan.bound_capacity) <= 28 < bound(plan.bound_capacity - 1)
    assert plan.bound_capacity <= min(plan.capacity.values())
    saved = plan.saved("shortest_output")
    assert saved["shortest_output"] == 0
    assert saved["fcfs"] == 1 - plan.capacity["fcfs"] / plan.capacity["shortest_output"]


def test_a_new_target_compiles_nothing(compiled):
    inst = instance(*backlogs(0, count=2, n=8, most=40))
    js.plan_capacity(inst, "smallest_volume", ("mean", 28), bound=None)
    with compiled() as events:
        js.plan_capacity(inst, "smallest_volume", ("mean", 80), bound=None)
        js.plan_capacity(inst, "smallest_volume", ("p95", 200), bound=None)
    assert not events


class TestServers:
    @pytest.mark.parametrize("clock", [None, CLOCK])
    def test_requests_go_round_the_servers(self, clock):
        s, o = (lengths[0] for lengths in backlogs(4, count=1, n=7, most=5))
        capacity = 10
        inst = js.Instance.from_lengths(s, o, kv_capacity=capacity)
        coefficients = clock and tuple(map(float, jax.tree.leaves(clock)))
        values = {}
        for count in range(1, 8):
            latency = []
            for server in range(count):
                part = s[server::count], o[server::count]
                start = strict_order(*part, capacity, ORDERS["smallest_volume"](*part))
                ends = [begin + output for begin, output in zip(start, part[1], strict=True)]
                if clock is not None:
                    elapsed = elapsed_s(coefficients, *part, start, max(ends))
                    ends = [elapsed[end] for end in ends]
                latency += ends
            values[count] = np.mean(latency)
        for target in values.values():
            plan = js.plan_capacity(
                inst, "smallest_volume", ("mean", target + 1e-9), vary="servers", clock=clock
            )
            curve = plan.curve["smallest_volume"]
            assert curve.mean == pytest.approx([values[count] for count in curve.at])
            assert values[plan.capacity["smallest_volume"]] <= target + 1e-9
            if plan.capacity["smallest_volume"] > 1:
                assert values[plan.capacity["smallest_volume"] - 1] > target + 1e-9

    def test_padding_takes_no_turn(self):
        one, two = ([3, 1, 2], [2, 4, 3]), ([5], [1])
        padded = js.stack([js.Instance.from_lengths(*each, kv_capacity=7) for each in (one, two)])
        plan = js.plan_capacity(padded, "fcfs", ("mean", 4), vary="servers")
        alone = [
            js.plan_capacity(
                js.Instance.from_lengths(*each, kv_capacity=7),
                "fcfs",
                ("mean", 100),
                vary="servers",
            ).curve["fcfs"]
            for each in (one, two)
        ]
        assert plan.curve["fcfs"].mean[0] == np.mean([curve.mean[0] for curve in alone])
        assert plan.curve["fcfs"].mean[-1] == np.mean([np.mean(one[1]), 1])


class TestPresets:
    def test_the_smallest_that_meets_the_target(self):
        inst = js.workloads.mixed(jax.random.key(0), 20, batch=3)
        plan = js.plan_capacity(inst, "fcfs", ("mean", 8), vary="preset")
        names = sorted(js.clock.PRESETS, key=lambda name: js.clock.PRESET_KV_CAPACITY[name])
        means = []
        for name in names:
            held = js.Instance.from_lengths(
                inst.prompt_tokens,
                inst.output_tokens,
                kv_capacity=js.clock.PRESET_KV_CAPACITY[name],
            )
            found = js.compare(held, ["fcfs"], clock=js.clock.PRESETS[name], bound=None)
            means.append(found.estimate("mean_latency_s")["fcfs"].mean)
        assert plan.curve["fcfs"].at.tolist() == names
        assert plan.curve["fcfs"].mean == pytest.approx(means)
        assert plan.capacity["fcfs"] == next(
            name for name, mean in zip(names, means, strict=True) if mean <= 8
        )
        with pytest.raises(ValueError, match="presets have no size"):
            plan.saved()

    def test_servers_in_files_are_tried_beside_named_ones(self, tmp_path):
        inst = js.workloads.mixed(jax.random.key(0), 20, batch=3)
        path = tmp_path / "mine.json"
        clock = js.clock.LinearClock(6.0, 0.02, 0.01, 4e-5, 0.0)
        js.servers.save(path, clock, 20_000)
        tried = ["llama3.1_8b_h100", path]
        plan = js.plan_capacity(inst, "fcfs", ("mean", 60), vary="preset", presets=tried)
        held = dataclasses.replace(inst, kv_capacity=np.full(3, 20_000))
        found = js.compare(held, ["fcfs"], clock=clock, bound=None)
        assert plan.curve["fcfs"].at.tolist() == [str(path), "llama3.1_8b_h100"]
        assert plan.curve["fcfs"].mean[0] == pytest.approx(
            found.estimate("mean_latency_s")["fcfs"].mean
        )
        js.servers.save(path, clock)
        with pytest.raises(ValueError, match=f"{path}: says no KV capacity; give --capacity"):
            js.plan_capacity(inst, "fcfs", ("mean", 60), vary="preset", presets=tried)

    def test_presets_too_small_for_a_request_are_blank(self):
        inst = js.Instance.from_lengths([100_000, 10], [5, 5], kv_capacity=200_000)
        plan = js.plan_capacity(inst, "fcfs", ("mean", 1000), vary="preset")
        is_small = [js.clock.PRESET_KV_CAPACITY[name] < 100_005 for name in plan.curve["fcfs"].at]
        assert np.isnan(plan.curve["fcfs"].mean).tolist() == is_small
        assert is_small[0]
        assert not is_small[-1]
        assert js.clock.PRESET_KV_CAPACITY[plan.capacity["fcfs"]] > 100_005
        assert plan.to_dict()["rules"]["fcfs"]["curve"]["mean"][0] is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"target": ("mean", 1)},
                "'fcfs' never meets the target.* the least found is 2 rounds",
            ),
            ({"target": ("men", 1)}, "no target is called 'men'; did you mean 'mean'"),
            ({"target": "mean=1"}, "expected a metric and a number"),
            ({"target": ("mean", float("nan"))}, "expected a finite number > 0"),
            ({"vary": "server"}, "vary is 'server'; did you mean 'servers'"),
            ({"bound": "volum"}, "no bound is called 'volum'; did you mean 'volume'"),
            ({"tolerance": 0}, "tolerance is 0; expected an integer from 1"),
            ({"max_num_seqs": [1, 2]}, "max_num_seqs is an array"),
            ({"rules": "fcf"}, "did you mean 'fcfs'"),
            ({"vary": "preset", "clock": CLOCK}, "presets bring their own clocks"),
            ({"presets": ["qwen3_8b_h100"]}, r"presets is .*; leave them out, or vary .preset"),
            ({"vary": "preset", "presets": []}, r"presets is \[\]; expected a list of servers"),
            ({"vary": "preset", "presets": "qwen3_8b_h100"}, "expected a list of servers"),
            (
                {"vary": "preset", "presets": ["qwen3_8b_h100"] * 2},
                r"presets\[1\] has qwen3_8b_h100 twice; leave one out",
            ),
            ({"vary": "preset", "presets": ["qwen"]}, "no server is called 'qwen'"),
        ],
    )
    def test_messages_name_the_remedy(self, arguments, message):
        inst = js.Instance.from_lengths([[7, 1], [2, 2]], [[1, 2], [3, 2]], kv_capacity=100)
        given = {"rules": "fcfs", "target": ("mean", 3), **arguments}
        with pytest.raises(ValueError, match=message):
            js.plan_capacity(inst, **given)

    def test_a_schedule_is_no_rule(self):
        inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
        sched = js.Schedule.from_starts(inst, [0, 2])
        with pytest.raises(ValueError, match="'mine' is a schedule"):
            js.plan_capacity(inst, {"mine": sched}, ("mean", 4))


@pytest.fixture(scope="module")
def plan():
    inst = instance(*backlogs(0, count=2, n=8, most=40))
    return js.plan_capacity(inst, ["fcfs", "smallest_volume"], ("mean", 28))


class TestShowing:
    def test_the_table_holds_the_answer(self, plan):
        text = str(plan)
        saved = plan.saved()["smallest_volume"]
        for part in (
            "mean latency at most 28 rounds",
            f"{plan.capacity['fcfs']}",
            f"{saved:.1%}",
            "volume bound",
            f"{plan.bound_capacity}",
        ):
            assert part in text
        assert repr(plan) == (
            "CapacityPlan(mean latency at most 28 rounds; KV tokens needed by "
            f"fcfs: {plan.capacity['fcfs']}, smallest_volume: {plan.capacity['smallest_volume']})"
        )
        assert f'<td style="text-align: right">{plan.capacity["fcfs"]}</td>' in plan._repr_html_()

    def test_the_picture_marks_what_each_rule_needs(self, plan):
        ax = plan.plot(Figure().subplots())
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels == [
            *(f"{rule}, needs {need}" for rule, need in plan.capacity.items()),
            "volume bound",
            "target 28",
        ]
        line = ax.lines[0]
        (marked,) = line.get_markevery()
        assert line.get_xdata()[marked] == plan.capacity["fcfs"]
        assert line.get_ydata().tolist() == plan.curve["fcfs"].mean.tolist()

    def test_unlike_capacities_are_named_where_there_is_one_place(self):
        inst = js.Instance.from_lengths([3], [2], kv_capacity=8)
        ax = js.plan_capacity(inst, "fcfs", ("mean", 2)).plot(Figure().subplots())
        assert ax.lines[0].get_ydata().tolist() == [2]
