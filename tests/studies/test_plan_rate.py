"""The highest rate, the fewest servers and the least memory, beside what each point serves."""

import json

import jax
import numpy as np
import pytest

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means
from jaxsched.studies.rates.intervals import crossing, jackknife, means_without_one
from jaxsched.studies.rates.searching import search

CLOCK = js.clock.LinearClock(20.0, 0.2, 0.3, 0.01, 0.0)
SERVER = js.Server(kv_capacity=2048, clock=CLOCK, max_num_seqs=16, max_num_batched_tokens=256)
TARGETS = {"ttft_slo_s": 0.25, "tpot_slo_s": 0.08}
RULES = ["fcfs", "smallest_volume"]


def streams(seed=0, count=3, n=24):
    """Poisson streams at 2 requests a second."""
    generator = np.random.default_rng(seed)
    return js.Requests.from_arrays(
        generator.exponential(0.5, (count, n)).cumsum(axis=-1),
        generator.integers(10, 300, (count, n)),
        generator.integers(1, 40, (count, n)),
    )


REQS = streams()


def scaled(reqs, rate):
    """The streams at a rate, one by one in plain numpy."""
    arrival = np.asarray(reqs.arrival_s)
    rows = []
    for times in arrival:
        own = (len(times) - 1) / (times[-1] - times[0])
        rows.append(times * (own / rate))
    return js.Requests.from_arrays(rows, reqs.prompt_tokens, reqs.output_tokens)


def is_good(reqs, server, rule):
    """Whether each request meets both targets; served in the shape that a search compiles."""
    out = js.serve(js.stack([reqs] * 8), server, rule)[0]
    tokens = np.asarray(reqs.output_tokens)
    tpot = (out.completion - out.first_token) / np.maximum(tokens - 1, 1)
    return (out.ttft <= 0.25) & (tpot <= 0.08) & (out.status == js.Status.OK)


def shares(reqs, server, rule):
    return is_good(reqs, server, rule).mean(axis=-1)


@pytest.fixture(scope="module")
def plan():
    return js.plan_rate(REQS, SERVER, RULES, vary={"max_num_seqs": [4, 16]}, **TARGETS)


def curves(plan):
    for rule, of_settings in plan.curve.items():
        for setting, curve in zip(plan.settings, of_settings, strict=True):
            row = plan.rules.index(rule), plan.settings.index(setting)
            yield rule, setting, curve, plan.value[row]


def test_every_rate_serves_the_same_draws_faster(plan):
    for rule, setting, curve, _ in curves(plan):
        for place in (0, len(curve.at) // 2, len(curve.at) - 1):
            fast = scaled(REQS, curve.at[place])
            expected = shares(fast, SERVER.replace(**setting), rule)
            np.testing.assert_array_equal(curve.metrics["attainment"][place], expected)


def test_at_its_own_rate_a_stream_is_unchanged():
    times = np.asarray(REQS.arrival_s)[:1].repeat(3, axis=0)
    reqs = js.Requests.from_arrays(times, REQS.prompt_tokens, REQS.output_tokens)
    curve = js.plan_rate(reqs, SERVER, **TARGETS).curve["fcfs"][0]
    place = curve.place_of(23 / (times[0, -1] - times[0, 0]))
    assert place is not None
    out = js.serve(js.stack([reqs] * 8), SERVER)[0]
    found = js.metrics.service_summary(reqs, out, server=SERVER, **TARGETS)
    for name, values in found.items():
        np.testing.assert_array_equal(curve.metrics[name][place], values, err_msg=name)


def test_the_rate_is_the_last_before_the_first_that_misses(plan):
    assert plan.value.shape == (2, 2)
    for _, _, curve, value in curves(plan):
        mean = curve.metrics["attainment"].mean(axis=-1)
        place = curve.place_of(value)
        assert (mean[: place + 1] >= 0.9 - 1e-9).all()
        assert mean[place + 1] < 0.9 - 1e-9
        assert value < curve.at[place + 1] <= 1.01 * value
    assert (plan.value[:, 1] > plan.value[:, 0]).all()
    assert plan.best[1] == {"max_num_seqs": 16}


def test_intervals_are_around_the_crossing_and_changes_are_paired(plan):
    low, high = plan.interval.low, plan.interval.high
    assert ((low < plan.interval.mean) & (plan.interval.mean < high)).all()
    assert (abs(plan.interval.mean / plan.value - 1) <= 0.01).all()
    change = plan.change
    expected = plan.interval.mean / plan.interval.mean[0, 0] - 1
    np.testing.assert_allclose(change.mean, expected, rtol=1e-12)
    assert (change.low[0, 0], change.mean[0, 0], change.high[0, 0]) == (0, 0, 0)
    boot = js.plan_rate(REQS, SERVER, RULES, key=jax.random.key(0), **TARGETS)
    assert (boot.interval.low < boot.interval.high).all()
    assert not np.array_equal(boot.interval.low[:, 0], low[:, 1])


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(1).normal(size=(2, 7))
    np.testing.assert_allclose(
        jackknife(means_without_one(values)[..., :2].T, None), estimate_means(values), rtol=1e-12
    )


def test_one_stream_has_no_interval():
    found = jackknife(means_without_one(np.array([[0.5]])).T, None)
    assert found.mean.tolist() == [0.5]
    assert np.isnan([found.low, found.high]).all()


def test_a_crossing_lies_on_the_line_between_two_points():
    at, mean = np.array([1.0, 4.0, 16.0, 64.0]), np.array([1.0, 0.95, 0.85, 0.95])
    assert crossing(at, mean, 0.9, is_falling=True) == pytest.approx(8.0)
    assert np.isnan(crossing(at, mean, 0.8, is_falling=True))
    assert crossing(at, 1 - mean, 0.1, is_falling=False) == pytest.approx(8.0)


@pytest.mark.parametrize("seed", range(20))
def test_the_search_keeps_to_the_first_crossing_of_any_curve(seed):
    """Also of one that rises again, and never above what was tried and is crossed."""
    generator = np.random.default_rng(seed)
    flags = generator.random(1000) < np.linspace(0, 1, 1000) ** 3
    curve = search(
        lambda points: [{"value": np.array([flags[int(p)]])} for p in points],
        first=[0, 10, 100],
        is_crossed=lambda measures: bool(measures["value"][0]),
        divide=lambda low, high: [int(low + high) // 2] if high - low > 1 else [],
        extend=lambda last: [min(2 * last, 999)] if last < 999 else [],
    )
    is_crossed = curve.metrics["value"][:, 0]
    assert curve.at.tolist() == sorted(set(curve.at))
    first = int(np.argmax(is_crossed))
    if is_crossed.any() and first:
        assert curve.at[first] == curve.at[first - 1] + 1


def test_new_numbers_compile_nothing_anew(plan, compiled):
    with compiled() as events:
        js.plan_rate(
            streams(seed=1),
            SERVER.replace(kv_capacity=1024, max_num_batched_tokens=128),
            RULES,
            vary={"max_num_seqs": [3, 5, 7], "watermark": [0.0, 0.1]},
            attainment=0.8,
            ttft_slo_s=1.0,
            tolerance=0.1,
        )
    assert not events


def test_what_never_meets_the_goal_has_the_rate_0():
    plan = js.plan_rate(REQS, SERVER, ttft_slo_s=1e-4)
    assert plan.value.tolist() == [[0.0]]
    (note,) = plan.notes()
    assert note.startswith("fcfs: misses it even at 0.00")
    assert note.endswith("the lowest")
    assert "misses it even" in str(plan)


def test_what_always_meets_it_takes_the_limit_that_no_rule_keeps_up_with():
    plan = js.plan_rate(REQS, SERVER, ttft_slo_s=1e4)
    together = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1), REQS)
    limit = js.bounds.stability(together, SERVER).rate
    curve = plan.curve["fcfs"][0]
    assert plan.value[0, 0] == plan.rate_limit[0] == limit
    assert curve.place_of(plan.value[0, 0]) is not None
    assert (curve.metrics["attainment"] == 1).all()
    assert plan.is_at_limit.tolist() == [[True]]
    assert f"{plan.value[0, 0]:.4g}*" in str(plan)
    (note,) = plan.notes()
    assert note.startswith(f"fcfs: meets it even at {curve.at[-1]:,.0f} req/s, the highest tried")
    assert "above the limit: some requests wait ever longer, or streams end" in note
    assert plan.interval.mean[0, 0] == plan.interval.high[0, 0] == plan.value[0, 0]
    (record,) = plan.records()
    assert record["is_at_limit"]
    assert record["limit"] == plan.value[0, 0]


def test_a_rule_that_starves_some_is_not_the_best_for_a_rate_above_the_limit():
    """One request in eight is huge; served last, they alone miss, at any rate."""
    n = 160
    sizes = np.where(np.arange(3 * n).reshape(3, n) % 8 == 5, 250, 10)
    reqs = js.Requests.from_arrays(streams(n=n).arrival_s, sizes, np.maximum(sizes // 2, 1))
    plan = js.plan_rate(reqs, SERVER, RULES, attainment=0.85, ttft_slo_s=0.15)
    assert plan.is_at_limit.tolist() == [[False], [True]]
    assert (plan.value <= plan.rate_limit).all()
    curve = plan.curve["smallest_volume"][0]
    above = curve.at[(curve.metrics["attainment"].mean(axis=-1) >= 0.85)].max()
    assert above > 2 * plan.rate_limit[0]
    assert plan.best == ("smallest_volume", {})
    found = plan.estimate("attainment").mean
    place = curve.place_of(plan.rate_limit[0])
    assert found[1, 0] == curve.metrics["attainment"][place].mean()
    assert (plan.interval.high <= plan.rate_limit).all()
    assert (note := plan.notes()[0]).startswith("smallest_volume: meets it even at ")
    assert "above the limit" in note


def test_servers_and_memory_that_no_rule_keeps_up_with_are_marked():
    lax = {"attainment": 1.0, "ttft_slo_s": 1e4}
    for plan in (
        js.plan_servers(REQS, SERVER, rate=60.0, **lax),
        js.plan_memory(REQS, SERVER, rate=60.0, **lax),
    ):
        assert plan.is_beyond.tolist() == [[True]]
        assert f"{plan.value[0, 0]:,.0f}*" in str(plan)
        assert "fcfs: * no rule keeps up with the rate there" in plan.notes()[0]
        assert plan.records()[0]["is_beyond"]
    few = js.plan_servers(REQS, SERVER, rate=0.1, **lax)
    assert few.is_beyond.tolist() == [[False]]
    assert "*" not in str(few)


def test_without_a_known_limit_the_highest_tried_is_said():
    refusing = SERVER.replace(kv_capacity=304)  # too few for the largest
    plan = js.plan_rate(REQS, refusing, attainment=0.5, ttft_slo_s=1e4)
    assert plan.rate_limit.tolist() == [np.inf]
    assert plan.value[0, 0] == plan.curve["fcfs"][0].at[-1]
    assert "the highest tried; longer streams may not" in plan.notes()[0]
    assert "no limit is known, since the server cannot serve all requests in full" in str(plan)
    assert json.dumps(plan.to_dict(), allow_nan=False)


def test_says_what_rules_know_of_output_lengths():
    sentence = "rules know output lengths only as predicted; here predictions are "
    given = {"ttft_slo_s": 1e4, "tolerance": 1.0}
    own = js.workloads.predict(REQS, jax.random.key(0), sigma=0.5)
    for reqs, known in (
        (REQS, "exact"),
        (REQS.replace(predicted_output_tokens=np.float32(REQS.output_tokens)), "exact"),
        (own, "the requests' own"),
    ):
        plan = js.plan_rate(reqs, SERVER, **given)
        assert sentence + known in str(plan)
        assert plan.to_dict()["predictions"] == sentence + known


def test_requests_may_bring_their_own_targets():
    n = 24
    own = js.Requests.from_arrays(
        REQS.arrival_s,
        REQS.prompt_tokens,
        REQS.output_tokens,
        ttft_slo_s=np.full((3, n), 0.25),
        tpot_slo_s=np.full((3, n), 0.08),
    )
    mine, given = js.plan_rate(own, SERVER), js.plan_rate(REQS, SERVER, **TARGETS)
    assert mine.value.tolist() == given.value.tolist()
    assert "TTFT at most its own target" in str(mine)


def test_servers_take_requests_in_turn():
    plan = js.plan_servers(REQS, SERVER, RULES, rate=60.0, **TARGETS)
    fast = scaled(REQS, 60.0)
    fields = [np.asarray(leaf) for leaf in (fast.arrival_s, fast.prompt_tokens, fast.output_tokens)]
    for rule, _, curve, value in curves(plan):
        for count in range(1, int(value) + 1):
            good = np.zeros((3, 24), bool)
            for server in range(count):
                mine = slice(server, None, count)
                part = js.Requests.from_arrays(*(leaf[:, mine] for leaf in fields))
                whole = js.stack([part[0], part[1], part[2], fast[0]])[:3]  # padded to 24
                good[:, mine] = is_good(whole, SERVER, rule)[:, : part.arrival_s.shape[-1]]
            share = good.mean(axis=-1)
            if (place := curve.place_of(count)) is not None:
                np.testing.assert_array_equal(curve.metrics["attainment"][place], share)
            assert (share.mean() >= 0.9 - 1e-9) == (count == value)
    assert plan.value[0, 0] > 2
    assert np.isnan(plan.interval.low).all()


def test_the_least_memory_just_meets_the_goal():
    plan = js.plan_memory(REQS, SERVER, RULES, rate=2.0, **TARGETS)
    fast = scaled(REQS, 2.0)
    for rule, _, curve, value in curves(plan):
        place = curve.place_of(value)
        mean = curve.metrics["attainment"].mean(axis=-1)
        assert (mean[:place] < 0.9 - 1e-9).all()
        assert value - curve.at[place - 1] <= max(1, 0.01 * value)
        for at in (place - 1, place):
            server = SERVER.replace(kv_capacity=int(curve.at[at]))
            expected = shares(fast, server, rule)
            np.testing.assert_array_equal(curve.metrics["attainment"][at], expected)


def test_results_are_written_as_tables_and_plain_numbers(plan):
    text = str(plan)
    assert "90% of requests: TTFT at most 0.25 s, TPOT at most 0.08 s" in text
    assert "95% t intervals over streams" in text
    assert plan._repr_html_().count("<tr>") == 1 + 4
    saved = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert [each["rate"] for each in saved["results"]] == plan.value.ravel().tolist()
    assert saved["goal"]["ttft_slo_s"] == 0.25
    records = plan.records()
    assert [(each["rule"], each["max_num_seqs"]) for each in records] == [
        (rule, seats) for rule in RULES for seats in (4, 16)
    ]
    goodput = plan.estimate("goodput_requests_per_s").mean
    assert records[3]["goodput_requests_per_s"] == goodput[1, 1]
    assert repr(plan).startswith("ServicePlan(rate in req/s; fcfs, max_num_seqs=4: ")


def test_a_picture_shows_the_neighborhood_of_the_rates(plan):
    axes = plan.plot(title="streams")
    assert list(axes) == ["attainment", "p99_ttft_s"]
    figure = axes["attainment"].figure
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "fcfs, max_num_seqs=4"
    assert len(names) == 4
    assert axes["p99_ttft_s"].get_ylabel() == "p99 TTFT (s)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ttft_slo_s": None}, "ttft_slo_s is missing, so there is no target; give it"),
        ({"ttft_slo_s": -1.0}, r"ttft_slo_s is -1.0; expected a finite number of seconds > 0"),
        ({"attainment": 90}, "attainment is 90; expected a share above 0 and at most 1"),
        ({"tolerance": 0.0}, "tolerance is 0.0; expected a finite number >= 1e-6"),
        ({"vary": {"max_num_seq": [1]}}, "no setting is called 'max_num_seq'; did you mean"),
        ({"vary": {"max_num_seqs": 4}}, "vary holds 4 for max_num_seqs; expected a list of values"),
        ({"vary": {"max_num_seqs": [4, 4]}}, "expected values of max_num_seqs that differ"),
        ({"vary": {"max_num_seqs": [0]}}, r"max_num_seqs\[0\] is 0; expected a number >= 1"),
        ({"vary": {"max_num_seqs": [4, [8]]}}, r"max_num_seqs\[1\] is \[8\]; expected one number"),
        ({"vary": {"admission": ["peek"]}}, r"admission\[0\] is 'peek'; did you mean 'peak'?"),
        ({"vary": {"prefill_first": [1]}}, r"prefill_first\[0\] is 1; expected True or False"),
        ({"rules": ["fcfs", "fcfs"]}, "two rules are called 'fcfs'"),
        ({"rules": []}, "there are no rules"),
        ({"rules": lambda inst: inst.arrival_s * np.float32(np.nan)}, "gave NaN: <lambda>"),
        ({"server": SERVER.replace(kv_capacity=np.array([1, 2]))}, "server has numbers of shape"),
        ({"reqs": js.Requests.from_arrays([1.0, 1.0], [1, 2], [1, 2])}, "no rate in stream 0"),
    ],
)
def test_errors_say_what_would_do(changes, message):
    given = {"reqs": REQS, "server": SERVER, "ttft_slo_s": 0.25} | changes
    with pytest.raises(ValueError, match=message):
        js.plan_rate(**given)


def test_rates_of_servers_and_capacities_to_vary_are_checked():
    with pytest.raises(ValueError, match="rate is 0; expected a finite number of requests a"):
        js.plan_servers(REQS, SERVER, rate=0, ttft_slo_s=1.0)
    with pytest.raises(ValueError, match="vary names kv_capacity, looked for here; leave it out"):
        js.plan_memory(REQS, SERVER, vary={"kv_capacity": [1]}, ttft_slo_s=1.0)


def test_the_limits_that_no_rule_keeps_up_with_stand_beside_the_rates():
    arrival_s = np.arange(40.0)
    reqs = js.Requests.from_arrays(arrival_s, [64] * 40, [8] * 40)
    server = js.Server(kv_capacity=4096)
    plan = js.plan_rate(reqs, server, vary={"max_num_seqs": [1, 2]}, ttft_slo_s=2.5, progress=False)
    for record, setting in zip(plan.records(), plan.settings, strict=True):
        limits = js.bounds.stability(reqs, server.replace(**setting))
        assert record["memory_limit"] == limits.memory
        assert record["work_limit"] == limits.work
        assert record["limit"] == limits.rate
    text = " ".join(str(plan).split())
    said = "max_num_seqs=1: no rule keeps up with more than 0.125 req/s (memory "
    assert said in text
