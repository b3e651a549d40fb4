"""js.tune on requests at a server: rule and settings, kept apart, resumed, dynamic rules too."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js

B, N = 4, 24
KEY = jax.random.key(5)
SERVER = js.Server(
    kv_capacity=400,
    max_num_seqs=8,
    max_num_batched_tokens=64,
    clock=js.clock.LinearClock(4.0, 0.2, 0.5, 0.0, 0.0),
)
MEAN = js.tuning.objectives.mean_e2e()
GRID = {"max_num_batched_tokens": (16, 32, 128, 256), "max_num_seqs": (2, 8, 16)}  # and 8 of 64


def streams(seed, batch=16, arrivals_per_s=80.0):
    """16 are as many as 2 pairs of noise make of 4, so that one program serves all."""
    rng = np.random.default_rng(seed)
    return js.Requests.from_arrays(
        np.cumsum(rng.exponential(1 / arrivals_per_s, (batch, N)), axis=-1),
        np.round(np.exp(rng.normal(3.5, 0.8, (batch, N)))).astype(int).clip(1, 200),
        np.round(np.exp(rng.normal(2.0, 0.8, (batch, N)))).astype(int).clip(1, 60),
    )


TRAIN, HELD_OUT, TEST = streams(1, batch=B), streams(2), streams(3)
TRAIN_OFTEN = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), 16 // B, axis=0), TRAIN)


def start():
    """Longest answers first, which the tuner has to turn round."""
    return js.policies.linear_score(("log_prompt", "log_output"), (0.4, -0.4))


def tune(rule=None, **options):
    options = {"server": SERVER, "steps": 12, "validate_every": 4, "objective": MEAN} | options
    return js.tune(
        start() if rule is None else rule, train=TRAIN, validation=HELD_OUT, key=KEY, **options
    )


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
def test_turns_a_bad_order_round():
    found = tune(optimizer=optax.adam(0.15), test=TEST)
    history = found.history
    assert (
        history.validation[0] == js.tuning.evaluate(HELD_OUT, start(), MEAN, server=SERVER).mean()
    )
    assert history.best[-1] < 0.95 * history.validation[0]
    assert float(found.rule.weights[1]) > float(start().weights[1]) + 0.3
    assert found.test == js.tuning.evaluate(TEST, found.rule, MEAN, server=SERVER).mean()
    assert found.server.max_num_seqs == SERVER.max_num_seqs
    assert found.settings is None


def test_settings_are_tuned_alone_for_a_rule_without_parameters():
    found = tune("fcfs", settings=GRID, test=TEST)
    assert found.settings == brute_force("fcfs")
    assert found.history.validation[1] < found.history.validation[0]
    assert found.rule == "fcfs"
    assert found.history.train.size == 0
    assert found.history.step.tolist() == [0, 0]
    assert found.test == js.tuning.evaluate(TEST, "fcfs", MEAN, server=found.server).mean()
    with pytest.raises(ValueError, match="'fcfs' has no parameters to tune"):
        tune("fcfs")
    inst = js.workloads.mixed(KEY, num_requests=8, batch=2)
    with pytest.raises(ValueError, match="settings goes with requests that arrive over time"):
        js.tune("fcfs", train=inst, validation=inst, key=KEY, settings=GRID)


def brute_force(rule):
    values = {}
    own = {name: getattr(SERVER, name) for name in GRID}
    for each in [
        own,
        *(dict(zip(GRID, v, strict=True)) for v in itertools.product(*GRID.values())),
    ]:
        server = SERVER.replace(**each)
        values[tuple(each.values())] = js.tuning.evaluate(
            TRAIN_OFTEN, rule, MEAN, server=server
        ).mean()
    return dict(zip(GRID, min(values, key=values.get), strict=True))


def test_settings_are_those_of_brute_force():
    rule = start()
    still = tune(rule, settings=GRID, optimizer=optax.sgd(0.0), steps=1)
    expected = brute_force(rule)
    field = js.tuning.settings.Field(SERVER, GRID)
    assert field.as_dict(still.history.setting[-1]) == expected
    assert expected != {name: getattr(SERVER, name) for name in GRID}
    if still.history.best_step == 0 and still.history.validation[1] < still.history.validation[0]:
        assert still.settings == expected
    assert still.settings == {name: getattr(still.server, name) for name in GRID}


def test_rule_and_settings_together_and_resumed_to_the_bit(tmp_path):
    noise = js.tuning.ScoreNoise(noise=jnp.float32(0.3), pairs=4, objective=MEAN)
    run = functools.partial(
        tune, settings=GRID, estimator=noise, minibatch_size=2, validate_every=2, test=TEST
    )
    straight = run(steps=8)
    assert straight.history.setting[0] == 0
    assert straight.history.best[-1] <= straight.history.validation[0]
    run(steps=4, checkpoint_dir=tmp_path)
    assert_equal(run(steps=8, checkpoint_dir=tmp_path), straight)
    with pytest.raises(ValueError, match="belongs to a run with another rule"):
        run(steps=8, checkpoint_dir=tmp_path, server=SERVER.replace(kv_capacity=500))


@pytest.mark.slow
@pytest.mark.jax_defaults
def test_dynamic_rules_by_noise_on_logarithms():
    rule = js.policies.highest_response_ratio(prompt_cost=0.5, output_cost=4.0)
    logs = js.tuning.in_logs(rule)
    traffic = js.tuning.traffic(TRAIN, SERVER)
    np.testing.assert_array_equal(
        js.serve(TRAIN, SERVER, logs).completion, js.serve(TRAIN, SERVER, rule).completion
    )
    estimator = js.tuning.EvolutionStrategies(noise=jnp.float32(0.5), pairs=2, objective=MEAN)
    found = estimator(logs, traffic, KEY)
    step = 0.5 * np.asarray(jax.random.normal(KEY, (2, 2), jnp.float32))
    constants = np.log([0.5, 4.0]) + np.concatenate([step, -step])
    values = [
        js.tuning.evaluate(
            TRAIN, js.policies.highest_response_ratio(*np.exp(pair)), MEAN, server=SERVER
        )
        for pair in constants
    ]
    np.testing.assert_allclose(found.value, np.mean(values), rtol=1e-5)
    change = np.mean(np.array(values) / np.mean(values, axis=0), axis=1)
    slope = (change[:2] - change[2:]) / (2 * 0.5)
    expected = np.mean(slope[:, None] * step / 0.5, axis=0)
    np.testing.assert_allclose(jax.tree.leaves(found.gradient), expected, rtol=1e-3, atol=1e-6)
    tuned = tune(logs, steps=2, validate_every=1)
    assert tuned.history.best[-1] <= tuned.history.validation[0]
    plain = js.tuning.from_logs(tuned.rule)
    assert plain.name == "highest_response_ratio"
    best = js.tuning.evaluate(HELD_OUT, plain, MEAN, server=SERVER).mean()
    np.testing.assert_allclose(best, tuned.history.best[-1], rtol=1e-12)


def test_goodput_grows_though_its_objective_is_below_nothing():
    goodput = js.tuning.objectives.goodput(ttft_slo_s=0.15)
    before = -js.tuning.evaluate(TRAIN_OFTEN, start(), goodput, server=SERVER).mean()
    found = tune(objective=goodput, optimizer=optax.adam(0.15))
    after = -js.tuning.evaluate(TRAIN_OFTEN, found.rule, goodput, server=SERVER).mean()
    assert after >= before > 0
    assert (found.history.validation < 0).all()


def test_the_unit_of_scores_is_that_of_neighbors():
    """A weight of the arrival spreads scores over a stream; noise is not to grow with it."""
    from jaxsched.tuning.estimators.estimate import scores, units

    seen = js.tuning.traffic(TRAIN, SERVER).seen
    names = ("log_output", "arrival_s")
    flat, trended = (
        units(scores(js.policies.linear_score(names, (1.0, w)), seen), seen) for w in (0.0, 5.0)
    )
    lengths = np.log(TRAIN.output_tokens)
    plain = np.sqrt((np.diff(lengths, axis=-1) ** 2).mean(axis=-1) / 2)
    np.testing.assert_allclose(flat, plain, rtol=1e-5)
    np.testing.assert_allclose(trended, flat, rtol=0.3)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"server": None}, "server is missing, and requests are served by one"),
            ({"test": TRAIN}, "test shares requests with train: stream 0 with 0"),
            ({"test": HELD_OUT[1:]}, "test shares requests with validation: stream 0 with 1"),
            ({"settings": {"block_size": (8, 16)}}, "no setting to tune is called 'block_size'"),
            ({"settings": {"max_num_seqs": ()}}, "expected a list of values of max_num_seqs"),
            ({"settings": {"max_num_seqs": (0, 8)}}, r"max_num_seqs\[1, 0\] is 0"),
            ({"test": TRAIN.as_backlog(1000)}, "test is Instance; expected Requests, as train is"),
            (
                {"estimator": js.tuning.Pathwise(temperature=0.2)},
                "Pathwise goes through a relaxation of a backlog",
            ),
        ],
    )
    def test_say_what_to_give(self, options, message):
        with pytest.raises((ValueError, TypeError), match=message):
            tune(**options)

    @pytest.mark.jax_defaults
    def test_scores_of_a_dynamic_rule(self):
        noise = js.tuning.ScoreNoise(noise=0.1, objective=MEAN)
        rule = js.policies.highest_response_ratio()
        with pytest.raises(TypeError, match="is dynamic: it has no scores of requests once"):
            noise(rule, js.tuning.traffic(TRAIN, SERVER), KEY)

    def test_windows_of_one_recording(self):
        """Seconds differ, since each stream begins at 0, but 16 requests in a row do not."""
        later = js.Requests.from_arrays(
            TRAIN.arrival_s[:, 4:] - TRAIN.arrival_s[:, 4:5],
            TRAIN.prompt_tokens[:, 4:],
            1000 * np.arange(1, N - 3) + np.zeros((B, 1), int),
        )
        first = js.Requests.from_arrays(
            2 * np.asarray(later.arrival_s), later.prompt_tokens, later.output_tokens
        )
        with pytest.raises(ValueError, match="validation shares requests with train"):
            js.tune(start(), later, first, KEY, server=SERVER)

    def test_a_backlog_has_no_server(self):
        with pytest.raises(ValueError, match="server goes with requests that arrive over time"):
            js.tune(start(), TRAIN.as_backlog(1000), HELD_OUT.as_backlog(1000), KEY, server=SERVER)

    def test_a_constant_of_nothing_has_no_logarithm(self):
        with pytest.raises(ValueError, match="expected numbers > 0 for leaf"):
            js.tuning.in_logs(js.policies.aged_prompt(0.0))


def tiny():
    return js.Requests.from_arrays([0.0, 0.0, 0.01, 0.01], [5, 30, 14, 60], [9, 3, 12, 4])


@functools.cache
def by_order():
    """Mean latency of each of the 24 orders of four requests."""
    server = SERVER.replace(max_num_seqs=1)
    orders = np.array(list(itertools.permutations(range(4))))
    places = np.argsort(orders, axis=-1)
    reqs = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (24, 4)), tiny())
    out = js.serve(reqs.replace(priority=places), server, "priority")
    return server, orders, np.asarray(MEAN(reqs, out))


SLOPES = (("log_prompt", "log_output"), (0.3, 0.2))


def features():
    return np.log(np.stack([tiny().prompt_tokens, tiny().output_tokens], axis=-1).astype(float))


def unit(score):
    return np.sqrt((np.diff(score) ** 2).mean() / 2)


@pytest.mark.slow
def test_estimates_are_slopes_of_smoothed_objectives():
    """Of the mean over all orders by the law of Plackett and Luce, and over draws of noise."""
    server, orders, values = by_order()
    copies = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], 4096, axis=0), tiny())
    traffic = js.tuning.traffic(copies, server)
    rule = js.policies.linear_score(*SLOPES)
    at = np.array(SLOPES[1])

    def by_law(weights):
        score = features() @ weights
        worth = np.exp(-score / unit(score) / 0.7)[orders]
        left = np.cumsum(worth[:, ::-1], axis=1)[:, ::-1]
        return np.sum(values * np.prod(worth / left, axis=1))

    number = {tuple(order): place for place, order in enumerate(orders.tolist())}
    table = np.empty((4, 4, 4, 4), int)
    for order, place in number.items():
        table[order] = place
    noise = np.random.default_rng(0).normal(size=(400_000, 4))

    def by_draws(weights):
        score = features() @ weights
        order = np.argsort(score + unit(score) * noise, axis=-1)
        return values[table[tuple(order.T)]].mean()

    def slopes(smoothed, width):
        moves = width * np.eye(2)
        return [(smoothed(at + m) - smoothed(at - m)) / (2 * width) / smoothed(at) for m in moves]

    estimators = js.tuning.PlackettLuce, js.tuning.ScoreNoise
    law = estimators[0](temperature=jnp.float32(0.7), samples=8, objective=MEAN)
    found = law(rule, traffic, KEY)
    np.testing.assert_allclose(found.value, by_law(at), rtol=5e-3)
    np.testing.assert_allclose(found.gradient.weights, slopes(by_law, 1e-5), rtol=0.06, atol=4e-3)
    draws = estimators[1](noise=jnp.float32(1.0), pairs=4, objective=MEAN)
    found = draws(rule, traffic, KEY)
    np.testing.assert_allclose(found.value, by_draws(at), rtol=5e-3)
    np.testing.assert_allclose(found.gradient.weights, slopes(by_draws, 0.02), rtol=0.06, atol=6e-3)


@pytest.mark.slow
@pytest.mark.jax_defaults
def test_fidelity_is_reported_as_of_backlogs():
    for rule, estimator in (
        (start(), js.tuning.TangentNoise(noise=jnp.float32(0.3), pairs=2, objective=MEAN)),
        (
            js.tuning.in_logs(js.policies.highest_response_ratio()),
            js.tuning.EvolutionStrategies(noise=jnp.float32(0.3), pairs=2, objective=MEAN),
        ),
    ):
        reference = js.tuning.reference_gradient(
            rule, TRAIN, KEY, server=SERVER, objective=MEAN, noise=0.3, max_simulations=256
        )
        found = js.tuning.fidelity(
            rule, estimator, TRAIN, KEY, server=SERVER, reference=reference, repeats=4
        )
        assert found.simulations == 4
        assert -1 <= found.cosine.mean <= 1
        assert found.cosine.mean > 0


def test_parts_of_a_recording_share_nothing_and_keep_bursts():
    rng = np.random.default_rng(7)
    whole = js.Requests.from_arrays(
        np.cumsum(rng.exponential(0.3, 500)), rng.integers(1, 900, 500), rng.integers(1, 90, 500)
    )
    sides = js.tuning.parts(whole, 40, (3, 2, 4), rate=2.0)
    assert [side.is_real.shape for side in sides] == [(3, 40), (2, 40), (4, 40)]
    rows = np.concatenate([np.asarray(side.prompt_tokens) for side in sides])
    begins = np.linspace(0, 460, 9).astype(int)
    expected = np.asarray(whole.prompt_tokens)[begins[:, None] + np.arange(40)]
    np.testing.assert_array_equal(rows, expected)
    for side in sides:
        arrival = np.asarray(side.arrival_s)
        np.testing.assert_allclose(arrival[:, 0], 0.0)
        np.testing.assert_allclose(arrival[:, -1], 39 / 2.0)
    gaps = np.diff(np.asarray(whole.arrival_s)[:40])
    found = np.diff(np.asarray(sides[0].arrival_s)[0])
    np.testing.assert_allclose(found / found.sum(), gaps / gaps.sum())
    with pytest.raises(ValueError, match="num_requests is 60 in 9 windows, of 500 requests"):
        js.tuning.parts(whole, 60, (3, 2, 4))
