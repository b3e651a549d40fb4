"""Rules side by side: metrics, intervals, paired changes, gaps, tables."""

import itertools
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

KEY = jax.random.key(0)
CLOCK = js.clock.PRESETS["llama2_70b_2xa100"]
RULES = ["fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume"]


def one_request_each(outputs):
    """Instances of one request that starts at once, so that its latency is its output."""
    return js.Instance.from_lengths(
        [[1]] * len(outputs), [[o] for o in outputs], kv_capacity=max(outputs) + 1
    )


def slower(inst):
    """Order two requests of an instance the long one first."""
    return -inst.output_tokens


@pytest.fixture(scope="module")
def batch():
    return js.workloads.uniform(KEY, batch=6)


@pytest.fixture(scope="module")
def found(batch):
    return js.compare(batch, RULES, baseline="fcfs")


class TestMetrics:
    def test_are_those_of_each_schedule(self, batch, found):
        assert found.rules == tuple(RULES)
        for name in RULES:
            sched = js.simulate(batch, js.prioritize(batch, name))
            for metric, values in js.metrics.summary(batch, sched).items():
                np.testing.assert_array_equal(found.metrics[name][metric], values)

    def test_kv_use_is_a_share_of_the_capacity(self, batch, found):
        expected = found.metrics["fcfs"]["mean_kv_tokens"] / np.asarray(batch.kv_capacity)
        np.testing.assert_array_equal(found.metrics["fcfs"]["kv_use"], expected)

    def test_the_gap_is_formed_in_each_instance(self, batch, found):
        total = found.metrics["total_size"]["total_latency_rounds"]
        np.testing.assert_array_equal(
            found.metrics["total_size"]["gap"], total / js.bounds.volume(batch) - 1
        )
        gap = found.estimate("gap")["total_size"].mean
        assert gap == pytest.approx(np.mean(total / js.bounds.volume(batch)) - 1)
        assert gap != pytest.approx(total.mean() / js.bounds.volume(batch).mean() - 1)

    @pytest.mark.parametrize("leading", [(), (2, 3)])
    def test_keep_the_leading_axes(self, batch, found, leading):
        inst = jax.tree.map(
            lambda leaf: leaf[: math.prod(leading)].reshape(*leading, *leaf.shape[1:]), batch
        )
        metric = "mean_latency_rounds"
        values = js.compare(inst, ["fcfs"]).metrics["fcfs"][metric]
        expected = found.metrics["fcfs"][metric][: math.prod(leading)].reshape(leading)
        np.testing.assert_array_equal(values, expected)

    def test_do_not_depend_on_chunks(self):
        # Host rules run a few instances at a time, pure ones many; 19 leaves a part chunk.
        batch = js.workloads.uniform(KEY, batch=19)
        caps = np.arange(1, 20)
        host = js.policies.host_rule(lambda inst: inst.prompt_tokens)
        found = js.compare(batch, {"pure": "shortest_prompt", "host": host}, max_num_seqs=caps)
        for metric, values in found.metrics["pure"].items():
            np.testing.assert_array_equal(found.metrics["host"][metric], values)
        priority = js.prioritize(batch, "shortest_prompt")
        sched = js.simulate(batch, priority, max_num_seqs=caps)
        np.testing.assert_array_equal(
            found.metrics["pure"]["makespan_rounds"], js.metrics.makespan(batch, sched)
        )

    def test_options_reach_the_simulator_and_the_metrics(self, batch):
        options = {"discipline": "earliest_fit", "admission": "peak", "max_num_seqs": 4}
        found = js.compare(batch, ["fcfs"], clock=CLOCK, deadline_s=10.0, **options)
        sched = js.simulate(batch, js.prioritize(batch, "fcfs"), **options)
        for metric, values in js.metrics.summary(batch, sched, CLOCK, 10.0).items():
            np.testing.assert_array_equal(found.metrics["fcfs"][metric], values)

    def test_a_rule_of_ones_own_is_called_by_its_name(self, batch):
        def my_rule(inst):
            return inst.output_tokens * (inst.prompt_tokens + 0.5 * inst.output_tokens)

        with jax.numpy_dtype_promotion("standard"):
            found = js.compare(batch, ["fcfs", my_rule], baseline="fcfs")
        assert found.rules == ("fcfs", "my_rule")
        assert found.best == "my_rule"

    def test_are_float64_with_and_without_x64(self, x64):
        inst = one_request_each([1, 2, 3, 6])
        values = js.compare(inst, ["svf"], clock=CLOCK).metrics["svf"]
        assert values["mean_latency_rounds"].tolist() == [1, 2, 3, 6]
        assert values["mean_latency_s"].dtype == np.float64


class TestIntervals:
    # Means 1, 2, 3, 6 have mean 3 and standard deviation sqrt(14/3); t(0.975, 3) = 3.182446.
    HALF = 3.182446 * math.sqrt(14 / 3) / 2

    def test_of_a_mean_are_students(self):
        found = js.compare(one_request_each([1, 2, 3, 6]), ["fcfs"])
        mean, low, high = found.estimate("mean_latency_rounds")["fcfs"]
        assert mean == 3
        assert (low, high) == pytest.approx((3 - self.HALF, 3 + self.HALF), rel=1e-6)

    def test_of_differences_are_paired(self):
        # Short first completes at 1 and 1 + o, long first at o and o + 1: o - 1 more in all.
        longs = [2, 3, 4, 7]
        inst = js.Instance.from_lengths(
            [[1, 1]] * 4, [[1, o] for o in longs], kv_capacity=[o + 1 for o in longs]
        )
        found = js.compare(inst, ["fcfs", slower], baseline="fcfs", max_num_seqs=1)
        mean, low, high = found.difference("total_latency_rounds")["slower"]
        assert mean == 3
        assert (low, high) == pytest.approx((3 - self.HALF, 3 + self.HALF), rel=1e-6)
        change = found.change("total_latency_rounds")
        assert change["slower"].mean == pytest.approx(np.mean([1 / 4, 2 / 5, 3 / 6, 6 / 9]))
        assert change["fcfs"] == (0, 0, 0)

    def test_are_blank_for_one_instance(self):
        inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
        found = js.compare(inst, ["fcfs", "svf"], baseline="svf")
        for estimates in (found.estimate("gap"), found.change("mean_slowdown")):
            assert all(
                math.isnan(each.low) and math.isnan(each.high) for each in estimates.values()
            )
        assert found.interval_name is None
        assert "±" not in str(found)
        latency = found.to_dict()["rules"]["fcfs"]["total_latency_rounds"]
        assert latency == {
            "mean": 6.0,
            "low": None,
            "high": None,
            "difference": 0.0,
            "difference_low": None,
            "difference_high": None,
            "change": 0.0,
            "change_low": None,
            "change_high": None,
            "p_value": None,
            "p_holm": None,
        }

    def test_come_from_the_bootstrap_given_a_key(self):
        outputs = [1, 2, 3, 6]
        found = js.compare(one_request_each(outputs), ["fcfs"], key=KEY)
        resamples = [np.mean(drawn) for drawn in itertools.product(outputs, repeat=4)]
        mean, low, high = found.estimate("mean_latency_rounds")["fcfs"]
        assert mean == 3
        assert (low, high) == tuple(np.percentile(resamples, [2.5, 97.5]))
        assert found.interval_name == "95% bootstrap"

    def test_depend_on_the_key_alone(self):
        inst = one_request_each([1, 2, 3, 6, 11, 20, 37, 70])
        first, again, other = (
            js.compare(inst, ["fcfs"], key=jax.random.key(seed)).to_dict() for seed in (0, 0, 1)
        )
        assert first == again != other

    def test_a_ratio_to_zero_is_left_blank(self):
        found = js.compare(
            one_request_each([1, 2]), ["fcfs", "svf"], "fcfs", clock=CLOCK, deadline_s=1e-6
        )
        assert found.difference("share_within_deadline")["svf"].mean == 0
        assert math.isnan(found.change("share_within_deadline")["svf"].mean)


class TestBounds:
    def test_may_be_left_out(self, batch):
        found = js.compare(batch, ["fcfs"], bound=None)
        assert found.bound is None
        assert "gap" not in found.metrics["fcfs"]
        assert found.bound_on_mean_latency() is None
        assert "bound" not in str(found)
        assert found.to_dict()["bound"] is None

    def test_may_be_a_function(self, batch):
        def longest_output(inst):
            return np.max(inst.output_tokens, axis=-1)

        found = js.compare(batch, ["fcfs"], bound=longest_output)
        assert found.bound_name == "longest_output"
        np.testing.assert_array_equal(found.bound, np.max(batch.output_tokens, axis=-1))
        assert "longest_output bound" in str(found)

    def test_of_another_shape_are_refused(self, batch):
        def sum_of_capacities(inst):
            return inst.kv_capacity.sum()

        with pytest.raises(ValueError, match=r"'sum_of_capacities' has shape \(\); .* \(6,\)"):
            js.compare(batch, ["fcfs"], bound=sum_of_capacities)


class TestRefusals:
    @pytest.mark.parametrize(
        ("rules", "options", "message"),
        [
            ([], {}, "no rules"),
            (["fcsf"], {}, "no rule is called 'fcsf'; did you mean 'fcfs'"),
            (["fcfs", "fcfs"], {}, "two rules are called 'fcfs'; .* dict"),
            (["fcfs"], {"baseline": "svf"}, "baseline 'svf' is not among the rules; known: fcfs"),
            (["fcfs"], {"bound": "volum"}, "no bound is called 'volum'; did you mean 'volume'"),
            (["fcfs"], {"deadline_s": 3.0}, "no clock"),
            (["fcfs"], {"max_num_seqs": 0}, "max_num_seqs is 0"),
            (["fcfs"], {"admission": "none"}, "admission is 'none'"),
        ],
    )
    def test_name_what_is_wrong(self, batch, rules, options, message):
        with pytest.raises(ValueError, match=message):
            js.compare(batch, rules, **options)

    @pytest.mark.parametrize("rules", ["fcfs", js.policies.fcfs])
    def test_a_lone_rule_is_no_list(self, batch, rules):
        with pytest.raises(TypeError, match="expected a list of rules"):
            js.compare(batch, rules)

    @pytest.mark.parametrize("decorate", [lambda rule: rule, js.policies.host_rule])
    def test_nan_names_rule_and_instance(self, decorate):
        def undefined(inst):
            return jnp.where(inst.output_tokens == 9, jnp.nan, 1.0)

        inst = one_request_each([1] * 16 + [9])
        with pytest.raises(ValueError, match=r"rule 'undefined' in instance 16: .* NaN"):
            js.compare(inst, ["fcfs", decorate(undefined)])
        grid = jax.tree.map(lambda leaf: leaf[1:].reshape(2, 8, *leaf.shape[1:]), inst)
        with pytest.raises(ValueError, match="rule 'undefined' in instance 1, 7:"):
            js.compare(grid, [decorate(undefined)])

    def test_an_unknown_metric_is_answered_with_the_nearest(self, found):
        with pytest.raises(ValueError, match="did you mean 'mean_latency_rounds'"):
            found.estimate("mean_latency_round")

    def test_no_differences_without_a_baseline(self, batch):
        with pytest.raises(ValueError, match="there is no baseline"):
            js.compare(batch, ["fcfs"]).difference("makespan_rounds")


class TestResults:
    def test_print_as_a_table_of_80_columns(self, batch, found):
        in_seconds = js.compare(batch, RULES, baseline="fcfs", clock=CLOCK, deadline_s=5.0)
        for comparison in (found, in_seconds):
            lines = str(comparison).splitlines()
            assert max(map(len, lines)) <= 80
            assert lines[0].startswith("6 instances of ")
            for name in RULES:
                assert sum(line.startswith(name) for line in lines) == 1
        assert str(found).splitlines()[0].endswith("times in rounds")
        assert "volume bound" in str(found)
        assert str(in_seconds).count("(s)") == 3
        assert str(in_seconds).count("(rounds)") == 2
        assert "time" in str(in_seconds).splitlines()[5]

    def test_show_means_and_half_the_intervals(self):
        found = js.compare(one_request_each([1, 2, 3, 6]), ["fcfs"])
        (row,) = (line for line in str(found).splitlines() if line.startswith("fcfs"))
        assert row.split()[1:3] == ["3.0±3.4", "0%"]

    def test_of_one_instance_are_shown_exactly(self):
        inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
        (row,) = (
            line for line in str(js.compare(inst, ["svf"])).splitlines() if line.startswith("svf")
        )
        assert row.split() == ["svf", "3", "0%", "3.98", "4", "1", "72%"]

    def test_repr_is_one_line(self, found):
        assert repr(found).startswith("Comparison(fcfs, shortest_output, ")
        assert repr(found).endswith("; best: total_size)")

    def test_show_in_a_notebook(self, batch):
        found = js.compare(batch, {"<b>": "fcfs", "svf": "svf"}, baseline="svf")
        html = found._repr_html_()
        assert html.count("<tr>") == 4  # header, two rules, the bound
        assert "&lt;b&gt;" in html
        assert "<b>" not in html

    def test_as_pandas(self, found):
        table = found.to_pandas().set_index(["rule", "metric"])
        assert len(table) == len(RULES) * len(found.metrics["fcfs"])
        row = table.loc[("total_size", "p99_latency_rounds")]
        for field, estimates in (("mean", found.estimate), ("change", found.change)):
            estimate = estimates("p99_latency_rounds")["total_size"]
            prefix = "" if field == "mean" else "change_"
            assert row[[field, f"{prefix}low", f"{prefix}high"]].tolist() == pytest.approx(
                list(estimate)
            )

    def test_without_pandas_the_extra_is_named(self, found, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(ImportError, match=r'pip install "jaxsched\[pandas\]"'):
            found.to_pandas()

    def test_as_json(self, batch, found):
        plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert plain["num_instances"] == 6
        assert plain["baseline"] == "fcfs"
        assert plain["intervals"] == "95% t"
        bound = np.mean(js.bounds.volume(batch) / np.asarray(batch.num_requests))
        assert plain["bound"] == {"name": "volume", "mean_latency_rounds": pytest.approx(bound)}
        assert list(plain["rules"]) == RULES
        estimate = found.difference("mean_slowdown")["total_size"]
        assert plain["rules"]["total_size"]["mean_slowdown"]["difference"] == estimate.mean

    def test_progress_is_shown_on_stderr_if_asked_for(self, batch, capsys):
        js.compare(batch, ["fcfs"])
        assert capsys.readouterr().err == ""
        js.compare(batch, ["fcfs", "svf"], progress=True)
        shown = capsys.readouterr()
        assert "0/12 instances" in shown.err
        assert shown.err.rpartition("\r")[0].endswith(" ")  # wiped at the end
        assert shown.out == ""


def test_progress_says_when_jax_compiles(capsys):
    inst = js.workloads.chat(KEY, num_requests=7, batch=2)

    def compiled_anew(inst):
        return inst.prompt_tokens % 7

    js.compare(inst, [compiled_anew], progress=True)
    first = capsys.readouterr().err
    js.compare(inst, [compiled_anew], progress=True)
    again = capsys.readouterr().err
    assert "compiling" in first
    assert "compiling" not in again
    assert "running" in again
