"""What a tuned order and tuned settings add to the rate that a server takes within its targets.

Every workload is cut in time: the first windows are learnt from, the next choose, and the last
are reported on. Rates are of attainment 0.9, TTFT and TPOT within targets. Pairs of rule and
settings see the same streams, so that ratios of rates are paired. A pair is tuned on the share of
requests within targets, at one rate after another, and kept if it takes a higher one.

What settings alone and order alone give is beside what both give. Estimators are compared by their
cosine to a gradient of many samples, and by what they reach at equal simulations.
"""

from __future__ import annotations

import functools
import time

import _common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _online_cases import BURSTY, STAMP_S, TARGETS, TRACES, USUAL_TARGETS, bursty, one_a_second
from _tuning_picture import picture
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.studies.rates.intervals import crossing, jackknife, means_without_one
from jaxsched.studies.rates.streams import at_rates
from jaxsched.tuning.settings import Field

SEED = 0
SERVER = "llama3.1_8b_h100"
ATTAINMENT = 0.9
FIXED = ("fcfs", "shortest_prompt", "smallest_volume", "aged_prompt", "uniboost")
BESIDE = ("smallest_volume", "uniboost")  # published rules, whichever is best here
FEATURES = ("log_prompt", "log_output", "prompt_share", "arrival_s")
START = (1.0, 0.0, 0.0, 0.1)
SETTINGS = {
    "max_num_batched_tokens": (512, 1024, 4096, 8192),
    "max_num_seqs": (64, 128, 256, 1024),
    "long_prefill_token_threshold": (0, 512),
}
#: The defaults of vLLM's class are 2,048 tokens and 128 requests. `vllm serve` takes others there.
ON_H100 = {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}
OTHERS = {  # in percent
    "vLLM's defaults": "above_defaults",
    "vllm serve on an H100": "above_h100",
    "best fixed rule": "above_fixed",
}
MOST_WINDOWS = 32  # of a workload: two in seven to learn from, as many to choose by, the rest after
#: Tuning looks at a tenth above the best rate known, since below it all orders are alike; then at a
#: tenth above what it reached, and once more.
ABOVE, LAPS = 1.1, 3
STEPS_OF_RATE = 72  # from a twelfth to four times the rate at which rules are compared


def whole(key, requests_a_workload):
    """One long stream of each workload, at one request a second in the mean."""
    drawn = {BURSTY: bursty(key, requests_a_workload, streams=1)}
    for number, name in enumerate(TRACES if _common.data_dir() else (), start=1):
        path = _common.data_dir() / f"{name}.csv.gz"
        reqs = js.traces.load_requests(path, sort=True, drop_invalid=True)
        jitter_s = STAMP_S if name == "mooncake_conversation" else 0.0
        one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], reqs)
        drawn[name] = one_a_second(one, jitter_s, jax.random.fold_in(key, number))
    return {name: jax.tree.map(lambda leaf: leaf[0], reqs) for name, reqs in drawn.items()}


def crossings(reqs, server, rule, targets, near):
    """Rate at which a rule just meets the goal, over all streams and without each, ``[1 + B]``.

    Where it lies outside of the rates tried it is the nearest of them.
    """
    at = near * np.geomspace(1 / 12, 4, STEPS_OF_RATE)
    wide = at_rates(reqs, at)
    served = js.metrics.service_summary(wide, js.serve(wide, server, rule), **targets)
    means = means_without_one(served["attainment"])
    found = np.array([crossing(at, mean, ATTAINMENT, is_falling=True) for mean in means])
    end = np.where(means[:, 0] < ATTAINMENT, at[0], at[-1])
    return np.where(np.isnan(found), end, found)


def tuned(rule, train, validation, server, objective, steps, **options):
    return js.tune(
        rule,
        train=train,
        validation=validation,
        server=server,
        objective=objective,
        key=jax.random.key(SEED),
        steps=steps,
        validate_every=max(1, steps // 12),
        progress=False,
        **options,
    )


def targets_of(name):
    return TARGETS[SERVER].get(name, USUAL_TARGETS[SERVER])._asdict()


def workload(name, cut, steps, settings):
    """Rates on test traffic: settings and order, alone and together; a row a pair."""
    server, targets = js.servers.get(SERVER), targets_of(name)
    _, choosing, test = cut()
    objective = js.tuning.objectives.attainment(**targets)
    limit = float(js.bounds.stability(choosing, server).rate.mean())

    def rate_of(rule, machine):
        return float(crossings(choosing, machine, rule, targets, limit)[0])

    def settings_for(rule, machine, train, validation):
        field = Field(machine, settings)
        traffic = js.tuning.traffic(train, machine)
        return rule, field.server(field.race(traffic, rule, objective, 0))

    def order_for(rule, machine, train, validation):
        return tuned(rule, train, validation, machine, objective, steps).rule, machine

    def both_for(rule, machine, train, validation):
        run = tuned(rule, train, validation, machine, objective, steps, settings=settings)
        return run.rule, run.server

    def climbed(improve, pair):
        best, rate = pair, rate_of(*pair)
        for _ in range(LAPS):
            pair = improve(*pair, *cut(rate=ABOVE * max(rate, value[fixed]))[:2])
            if (reached := rate_of(*pair)) > rate:
                best, rate = pair, reached
        return best

    value = {rule: rate_of(rule, server) for rule in FIXED}
    fixed = max(value, key=value.get)
    start = js.policies.linear_score(FEATURES, START)
    pairs = {
        "vLLM's defaults": ("fcfs", server),
        "vllm serve on an H100": ("fcfs", server.replace(**ON_H100)),
        "best fixed rule": (fixed, server),
        **{each.replace("_", " "): (each, server) for each in BESIDE},
        "fcfs, settings tuned": climbed(settings_for, ("fcfs", server)),
        "best fixed rule, settings tuned": climbed(settings_for, (fixed, server)),
        "order tuned": climbed(order_for, (start, server)),
        "order and settings tuned": climbed(both_for, (start, server)),
    }
    found = {
        pair: crossings(test, machine, rule, targets, limit)
        for pair, (rule, machine) in pairs.items()
    }
    for pair, (rule, machine) in pairs.items():
        row = {"workload": name, "pair": pair, "windows": test.is_real.shape[0]}
        row |= {"limit": limit, "rate": found[pair][0]}
        for other in OTHERS:
            change = jackknife(100 * (found[pair] / found[other] - 1), None)
            row |= _common.interval(OTHERS[other], change)
        given = {setting: getattr(machine, setting) for setting in settings}
        is_name = isinstance(rule, str)
        weights = {f"w_{k}": "" if is_name else float(w) for k, w in _weights(rule)}
        yield row | {"rule": rule if is_name else "linear_score"} | given | weights


def _weights(rule):
    weights = np.zeros(len(FEATURES)) if isinstance(rule, str) else np.asarray(rule.weights)
    return zip(FEATURES, weights, strict=True)


def estimators(name, parts, steps, simulations, repeats):
    """Cosine and cost of each estimator, and what it reaches at equal simulations; a row each."""
    server = js.servers.get(SERVER)
    objective = js.tuning.objectives.attainment(**targets_of(name))
    train, validation, test = parts
    rule = js.policies.linear_score(FEATURES, START)
    tested = {
        "tangent_noise": js.tuning.TangentNoise(jnp.float32(0.3), pairs=2, objective=objective),
        "score_noise": js.tuning.ScoreNoise(jnp.float32(0.3), pairs=2, objective=objective),
        "plackett_luce": js.tuning.PlackettLuce(jnp.float32(0.3), samples=4, objective=objective),
        "evolution_strategies": js.tuning.EvolutionStrategies(
            jnp.float32(0.1), pairs=2, objective=objective
        ),
        "random_search": js.tuning.RandomSearch(jnp.float32(0.1), pairs=2, objective=objective),
    }
    key = jax.random.key(SEED + 1)
    reference = js.tuning.reference_gradient(
        rule,
        train,
        key,
        server=server,
        noise=0.3,
        objective=objective,
        max_simulations=simulations,
    )
    for each, estimator in tested.items():
        with np.errstate(invalid="ignore", divide="ignore"):  # few requests may give no slope
            judged = js.tuning.fidelity(
                rule, estimator, train, key, server=server, reference=reference, repeats=repeats
            )
        step = optax.sgd(0.1) if each == "random_search" else None
        begin = time.process_time()
        run = tuned(
            rule, train, validation, server, objective, steps, estimator=estimator, optimizer=step
        )
        seconds = time.process_time() - begin
        reached = js.tuning.evaluate(test, run.rule, objective, server=server)
        before = js.tuning.evaluate(test, rule, objective, server=server)
        gain = js.metrics.statistics.estimate_means(100 * (before - reached))
        yield {
            "workload": name,
            "estimator": each,
            "simulations": judged.simulations,
            **_common.interval("cosine", judged.cosine),
            **_common.interval("evened_cosine", judged.evened_cosine),
            "reference_cosine": reference.halves_cosine,
            "ms_a_call": 1000 * judged.seconds,
            "steps": steps,
            "cpu_s": seconds,
            "validation": -run.history.best[-1],
            **_common.interval("test_points", gain),
        }


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    n, most, steps = (40, 7, 2) if is_smoke else (600, MOST_WINDOWS, 60)
    simulations, repeats = (64, 2) if is_smoke else (2048, 16)
    settings = {"max_num_batched_tokens": (1024, 4096)} if is_smoke else SETTINGS
    rows, about_estimators = [], []
    for name, reqs in whole(jax.random.key(SEED), n * most).items():
        if is_smoke and name in TRACES:
            continue
        windows = min(most, int(reqs.num_requests) // n)
        learnt = 2 * windows // 7
        cut = functools.partial(js.tuning.parts, reqs, n, (learnt, learnt, windows - 2 * learnt))
        rows += workload(name, cut, steps, settings)
        print(name, flush=True)
        if name in (BURSTY, TRACES[0]):
            rate = ABOVE * max(row["rate"] for row in rows if row["workload"] == name)
            about_estimators += estimators(name, cut(rate=rate), steps, simulations, repeats)
    path = _common.write_results(
        "online_tuning",
        rows,
        SEED,
        {"estimators": about_estimators},
        server=SERVER,
        requests=n,
        most_windows=most,
        steps=steps,
        laps=LAPS,
        attainment=ATTAINMENT,
        targets={name: targets_of(name) for name in (BURSTY, *TRACES)},
        settings=settings,
    )
    picture(rows).savefig(path.with_suffix(".png"), dpi=110)
    table = Table("workload", "pair", "req/s", *(f"above {other} (%)" for other in OTHERS))
    for row in rows:
        cells = [
            f"{row[name]:+.1f} ({row[f'{name}_low']:+.1f} to {row[f'{name}_high']:+.1f})"
            for name in OTHERS.values()
        ]
        table.add_row(row["workload"], row["pair"], f"{row['rate']:.2f}", *cells)
    Console(width=160).print(table)
    print(path)


if __name__ == "__main__":
    main()
