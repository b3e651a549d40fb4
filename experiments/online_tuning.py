"""What a tuned order and tuned settings add to the rate that a server takes within its targets.

Every workload is cut in time: the first windows are learnt from, the next choose, and the last
are reported on. Rates are of attainment 0.9, TTFT and TPOT within targets. Pairs of rule and
settings see the same streams, so that ratios of rates are paired.

What settings alone and order alone give is beside what both give. Estimators are compared by their
cosine to a gradient of many samples, and by what they reach at equal simulations.
"""

from __future__ import annotations

import time

import _common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.studies.rates.intervals import crossing, jackknife, means_without_one
from jaxsched.studies.rates.streams import at_rates
from jaxsched.tuning.settings import Field

SEED = 0
SERVER = "llama3.1_8b_h100"
ATTAINMENT = 0.9
TARGETS = {"ttft_slo_s": 0.5, "tpot_slo_s": 0.05}
#: A tenth of these prompts takes longer than half a second alone.
LONGER = {"mooncake_conversation": {"ttft_slo_s": 2.0, "tpot_slo_s": 0.05}}
TRACES = ("azure2023_conv", "azure2023_code", "mooncake_conversation")
STAMP_S = 3.0  # between the arrivals that mooncake_conversation records
FIXED = ("fcfs", "shortest_prompt", "smallest_volume", "aged_prompt", "gamma_boost")
FEATURES = ("log_prompt", "log_output", "prompt_share", "arrival_s")
START = (1.0, 0.0, 0.0, 0.1)
SETTINGS = {
    "max_num_batched_tokens": (512, 1024, 4096, 8192),
    "max_num_seqs": (64, 128, 256),
    "long_prefill_token_threshold": (0, 512),
}
OTHERS = {"vLLM's defaults": "above_defaults", "best fixed rule": "above_fixed"}  # in percent
ABOVE = 1.1  # of the best fixed rule's rate: where tuning looks, since below it all rules are alike


def recorded(name, key):
    """One long stream of a trace; stamps of whole seconds are spread out evenly at random."""
    path = _common.data_dir() / f"{name}.csv.gz"
    reqs = js.traces.load_requests(path, sort=True, drop_invalid=True)
    arrival_s = np.asarray(reqs.arrival_s)
    if name == "mooncake_conversation":
        arrival_s = arrival_s + STAMP_S * np.asarray(jax.random.uniform(key, arrival_s.shape))
    order = np.argsort(arrival_s, kind="stable")
    return js.Requests.from_arrays(
        arrival_s[order] - arrival_s.min(),
        np.asarray(reqs.prompt_tokens)[order],
        np.asarray(reqs.output_tokens)[order],
    )


def bursty(key, num_requests):
    """Chats and summaries in one stream; in bursts three times as many arrive a second."""
    lengths, switch, gaps = jax.random.split(key, 3)
    inst = js.workloads.mixed(lengths, num_requests)
    is_burst = np.repeat(
        np.asarray(jax.random.bernoulli(switch, 0.3, (num_requests // 20 + 1,))), 20
    )
    rate = np.where(is_burst[:num_requests], 3.0, 1.0)
    gap = np.asarray(jax.random.exponential(gaps, (num_requests,))) / rate
    return js.Requests.from_arrays(
        np.cumsum(gap), np.asarray(inst.prompt_tokens), np.asarray(inst.output_tokens)
    )


def rates(reqs, server, rules, targets):
    """Rates of rules ``{name: value}``, and their crossings ``{name: [1 + B]}``."""
    plan = js.plan_rate(
        reqs, server, rules, attainment=ATTAINMENT, tolerance=0.01, progress=False, **targets
    )
    crossings = {}
    for name in plan.rules:
        curve = plan.curve[name][0]
        means = means_without_one(curve.metrics["attainment"])
        at = [crossing(np.asarray(curve.at), each, ATTAINMENT, is_falling=True) for each in means]
        crossings[name] = np.array(at)
    return dict(zip(plan.rules, plan.value[:, 0].tolist(), strict=True)), crossings


def at_rate(parts, rate):
    """Set every window of every part to a rate."""
    return [jax.tree.map(lambda leaf: leaf[0], at_rates(part, [rate])) for part in parts]


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


def workload(name, sides, steps, settings):
    """Rates on test traffic: settings and order, alone and together; a row a pair."""
    server = js.servers.get(SERVER)
    targets = LONGER.get(name, TARGETS)
    objective = js.tuning.objectives.attainment(**targets)
    value, _ = rates(sides[1], server, FIXED, targets)
    fixed = max(value, key=value.get)
    train, validation = at_rate(sides[:2], ABOVE * value[fixed])
    field = Field(server, settings)
    traffic = js.tuning.traffic(train, server)
    start = js.policies.linear_score(FEATURES, START)
    fcfs_set, fixed_set = (
        field.server(field.race(traffic, each, objective, 0)) for each in ("fcfs", fixed)
    )
    order = tuned(start, train, validation, server, objective, steps)
    both = tuned(start, train, validation, server, objective, steps, settings=settings)
    pairs = {
        "vLLM's defaults": ("fcfs", server),
        "best fixed rule": (fixed, server),
        "fcfs, settings tuned": ("fcfs", fcfs_set),
        "best fixed rule, settings tuned": (fixed, fixed_set),
        "order tuned": (order.rule, server),
        "order and settings tuned": (both.rule, both.server),
    }
    found = {}
    for pair, (rule, machine) in pairs.items():
        rate, crossings = rates(sides[2], machine, {"rule": rule}, targets)
        found[pair] = rate["rule"], crossings["rule"]
    for pair, (rule, machine) in pairs.items():
        rate, crossings = found[pair]
        row = {"workload": name, "pair": pair, "rate": rate, "crossing": crossings[0]}
        for other in OTHERS:
            change = jackknife(100 * (crossings / found[other][1] - 1), None)
            row |= _common.interval(OTHERS[other], change)
        given = {setting: getattr(machine, setting) for setting in settings}
        is_name = isinstance(rule, str)
        weights = {f"w_{k}": "" if is_name else float(w) for k, w in _weights(rule)}
        yield row | {"rule": rule if is_name else "linear_score"} | given | weights


def _weights(rule):
    weights = np.zeros(len(FEATURES)) if isinstance(rule, str) else np.asarray(rule.weights)
    return zip(FEATURES, weights, strict=True)


def estimators(name, sides, rate, steps, simulations, repeats):
    """Cosine and cost of each estimator, and what it reaches at equal simulations; a row each."""
    server = js.servers.get(SERVER)
    targets = LONGER.get(name, TARGETS)
    objective = js.tuning.objectives.attainment(**targets)
    train, validation, test = at_rate(sides, rate)
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
    n, streams, steps = (40, (2, 2, 2), 2) if is_smoke else (400, (6, 6, 8), 60)
    simulations, repeats = (64, 2) if is_smoke else (2048, 16)
    settings = {"max_num_batched_tokens": (1024, 4096)} if is_smoke else SETTINGS
    keys = jax.random.split(jax.random.key(SEED), len(TRACES) + 1)
    whole = {"bursty": bursty(keys[-1], n * sum(streams))}
    if _common.data_dir() is not None:
        names = TRACES[:1] if is_smoke else TRACES
        whole |= {name: recorded(name, key) for name, key in zip(names, keys, strict=False)}
    rows, about_estimators = [], []
    for name, reqs in whole.items():
        sides = js.tuning.parts(reqs, n, streams)
        rows += workload(name, sides, steps, settings)
        print(name, flush=True)
        if name in ("bursty", "azure2023_conv"):
            rate = ABOVE * max(row["rate"] for row in rows if row["workload"] == name)
            about_estimators += estimators(name, sides, rate, steps, simulations, repeats)
    path = _common.write_results(
        "online_tuning",
        rows,
        SEED,
        {"estimators": about_estimators},
        server=SERVER,
        requests=n,
        streams=streams,
        steps=steps,
        attainment=ATTAINMENT,
        targets=TARGETS,
        longer=LONGER,
        settings=settings,
    )
    table = Table("workload", "pair", "req/s", "above defaults (%)", "above best fixed (%)")
    for row in rows:
        cells = [
            f"{row[name]:+.1f} ({row[f'{name}_low']:+.1f} to {row[f'{name}_high']:+.1f})"
            for name in OTHERS.values()
        ]
        table.add_row(row["workload"], row["pair"], f"{row['rate']:.2f}", *cells)
    Console(width=130).print(table)
    print(path)


if __name__ == "__main__":
    main()
