"""How far each gradient estimator can be trusted, far from the optimum and near it.

Estimators x rules x parameters on ``mixed``, beside a reference of many simulated samples. Each
has at most six hard evaluations an instance, the time of its relaxation counted in those; noise
guided by ``memory_balance`` would have more and is left out. ``evaluation_s`` is one hard
evaluation of the same instances with their scores given, and a row's ``evaluations`` its whole time
in those, scores and gradients of the rule included. Points:

- far: a linear rule set by hand, and a network as drawn.
- near: on the straight line from the tuned rule back to the far one, the first point whose mean
  latency is 0.5% above the tuned rule's. At the optimum itself there is no gradient to find. The
  network has two such points: "near" comes from tuning through ``work_ahead`` and then by the
  simulator, "near again" from tuning by the simulator alone.
- linear volume: the weights of ``smallest_volume``, where most tuning starts.

``above_tuned_percent`` says for each point how far its mean latency is above the tuned rule's.
"""

import time

import _common
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxsched as js
from jaxsched import tuning
from jaxsched.tuning import relaxations

SEED = 0
FEATURES = ("log_prompt", "log_output", "log_total", "log_volume", "prompt_share", "output_share")
NEAR = 0.005
WARM = jnp.float32(0.2)
ESTIMATORS = {
    "default": tuning.default_estimator(),
    "tangent_noise 3 pairs": tuning.TangentNoise(noise=jnp.float32(0.1)),
    "work_ahead": tuning.Pathwise(WARM, relaxations.work_ahead),
    "memory_balance": tuning.Pathwise(WARM, relaxations.memory_balance),
    "memory_balance, colder": tuning.Pathwise(jnp.float32(0.1), relaxations.memory_balance),
    "soft_sort": tuning.Pathwise(WARM, relaxations.soft_sort),
    "straight_through": tuning.Pathwise(WARM, relaxations.straight_through),
    "score_noise 2 pairs": tuning.ScoreNoise(noise=WARM, pairs=2),
    "score_noise 3 pairs": tuning.ScoreNoise(noise=WARM),
    "guided_noise 1 pair, work_ahead": tuning.GuidedNoise(
        noise=WARM, pairs=1, relaxation=relaxations.work_ahead
    ),
    "guided_noise 2 pairs, work_ahead": tuning.GuidedNoise(
        noise=WARM, pairs=2, relaxation=relaxations.work_ahead
    ),
    "plackett_luce 3": tuning.PlackettLuce(temperature=jnp.float32(0.1), samples=3),
    "plackett_luce 6": tuning.PlackettLuce(temperature=jnp.float32(0.1), samples=6),
    "evolution_strategies 0.03": tuning.EvolutionStrategies(noise=jnp.float32(0.03)),
    "evolution_strategies 0.1": tuning.EvolutionStrategies(noise=jnp.float32(0.1)),
    "random_search": tuning.RandomSearch(noise=jnp.float32(0.1)),
}


def tuned(start: js.policies.Rule, instances: js.Instance, rate: float, steps: int):
    """Descend with the simulator itself."""
    return js.tune(
        start,
        train=instances,
        validation=instances,
        key=jax.random.key(SEED + 1),
        estimator=tuning.ScoreNoise(noise=jnp.float32(0.1)),
        optimizer=optax.adam(optax.cosine_decay_schedule(rate, steps)),
        steps=steps,
        progress=False,
    ).rule


def towards(best, far, instances: js.Instance):
    """Go from ``best`` towards ``far`` until mean latency is 0.5% above, by bisection."""

    def at(share: float):
        return jax.tree.map(lambda a, b: a + (b - a) * jnp.float32(share), best, far)

    limit = mean(best, instances) * (1 + NEAR)
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if mean(at(middle), instances) > limit else (middle, high)
    return at(high)


def mean(rule, instances: js.Instance) -> float:
    return float(tuning.evaluate(instances, rule).mean())


def points(instances: js.Instance, steps: int) -> dict:
    """Rules to measure at, each with the per cent by which it is above the tuned one."""
    volume = js.policies.linear_score(FEATURES, [name == "log_volume" for name in FEATURES])
    linear = js.policies.linear_score(FEATURES, (0.3, -0.2, 0.1, 0.0, 0.0, 0.0))
    network = js.policies.mlp_score(FEATURES)
    trained = js.tune(
        network,
        train=instances,
        validation=instances,
        key=jax.random.key(SEED + 1),
        estimator=tuning.Pathwise(WARM, relaxations.work_ahead),
        steps=steps,
        progress=False,
    ).rule
    best_linear = tuned(volume, instances, 0.03, steps)
    best_network = tuned(trained, instances, 0.01, steps)
    best_again = tuned(network, instances, 0.05, steps)
    found = {
        "linear far": (linear, best_linear),
        "linear near": (towards(best_linear, linear, instances), best_linear),
        "linear volume": (volume, best_linear),
        "mlp far": (network, best_network),
        "mlp near": (towards(best_network, network, instances), best_network),
        "mlp near again": (towards(best_again, network, instances), best_again),
    }
    return {
        name: (rule, 100 * (mean(rule, instances) / mean(best, instances) - 1))
        for name, (rule, best) in found.items()
    }


def evaluation_seconds(rule, instances: js.Instance) -> float:
    """Median time of one hard evaluation of all instances, their scores given."""
    priority = js.prioritize(instances, rule)
    times = []
    for _ in range(12):
        begin = time.perf_counter()
        jax.block_until_ready(tuning.mean_latency(instances, js.simulate(instances, priority)))
        times.append(time.perf_counter() - begin)
    return float(np.median(times[2:]))


def memory(relaxation, requests: int, batch: int) -> dict:
    """Working memory of a gradient through a relaxation, and of one matrix of all pairs."""
    instances = js.workloads.mixed(jax.random.key(SEED), num_requests=requests, batch=batch)
    arguments = js.policies.linear_score(FEATURES), instances, jax.random.key(SEED)
    compiled = jax.jit(tuning.Pathwise(WARM, relaxation)).lower(*arguments).compile()
    found = compiled.memory_analysis()
    assert found is not None
    return {
        "relaxation": relaxation.__name__,
        "requests": requests,
        "instances": batch,
        "working_mib": found.temp_size_in_bytes / 2**20,
        "matrix_mib": batch * requests**2 * 4 / 2**20,
    }


def main() -> None:
    """Fill the table."""
    is_smoke = _common.parser(__doc__).parse_args().smoke
    requests, batch, repeats, limit, steps = (
        (30, 4, 2, 64, 2) if is_smoke else (200, 64, 64, 16384, 200)
    )
    key = jax.random.key(SEED)
    instances = js.workloads.mixed(key, num_requests=requests, batch=batch)
    memories = [
        memory(relaxation, size, batch)
        for relaxation in (relaxations.work_ahead, relaxations.memory_balance)
        for size in (requests, 10 * requests)
    ]
    for found in memories:
        print(
            "{relaxation}, n = {requests}: {working_mib:.0f} MiB, "
            "matrix {matrix_mib:.0f} MiB".format(**found)
        )
    rows = []
    measured = points(instances, steps)
    if is_smoke:
        measured = {"mlp near": measured["mlp near"]}
    for rule_name, (rule, above) in measured.items():
        reference = tuning.reference_gradient(
            rule, instances, jax.random.fold_in(key, 1), max_simulations=limit
        )
        print(
            f"{rule_name}: {above:.2f}% above tuned; halves of the reference agree to "
            f"{reference.halves_cosine:.4f}, evened {reference.halves_evened:.4f}, after "
            f"{reference.simulations} simulations"
        )
        for name, estimator in ESTIMATORS.items():
            found = tuning.fidelity(
                rule,
                estimator,
                instances,
                jax.random.fold_in(key, 2),
                reference=reference,
                repeats=repeats,
            )
            row = {"rule": rule_name, "above_tuned_percent": above, "estimator": name}
            evaluation = evaluation_seconds(rule, instances)
            row |= found._asdict()
            row |= {"evaluation_s": evaluation, "evaluations": found.seconds / evaluation}
            for measure in ("cosine", "evened_cosine", "sign_agreement", "bias", "variance"):
                row |= _common.interval(measure, row[measure])
            rows.append(row | {"reference_simulations": reference.simulations})
            print(
                f"  {name:32} cosine {found.cosine.mean:6.3f} "
                f"[{found.cosine.low:6.3f}, {found.cosine.high:6.3f}]  "
                f"evened {found.evened_cosine.mean:6.3f}  {row['evaluations']:5.1f} evaluations"
            )
    settings = {"workload": "mixed", "requests": requests, "instances": batch}
    _common.write_results("gradients", rows, SEED, {"memory": memories}, **settings)


if __name__ == "__main__":
    main()
