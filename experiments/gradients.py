"""How far each gradient estimator can be trusted, far from the optimum and near it.

Estimators x rules x parameters on ``mixed``, beside a reference of many simulated samples. Every
simulating estimator has at most six hard evaluations an instance. ``evaluation_s`` is one hard
evaluation of the same instances.
"""

import time

import _common
import jax
import jax.numpy as jnp
import numpy as np

import jaxsched as js
from jaxsched import tuning

SEED = 0
FEATURES = ("log_prompt", "log_output", "log_total", "log_volume", "prompt_share", "output_share")
ESTIMATORS = {
    "work_ahead": tuning.WorkAhead(temperature=jnp.float32(0.2)),
    "fluid": tuning.Fluid(temperature=jnp.float32(0.2)),
    "score_noise": tuning.ScoreNoise(noise=jnp.float32(0.1)),
    "guided_noise": tuning.GuidedNoise(noise=jnp.float32(0.1), temperature=jnp.float32(0.2)),
    "plackett_luce_3": tuning.PlackettLuce(temperature=jnp.float32(0.1), samples=3),
    "plackett_luce_6": tuning.PlackettLuce(temperature=jnp.float32(0.1), samples=6),
    "evolution_strategies": tuning.EvolutionStrategies(noise=jnp.float32(0.1)),
    "random_search": tuning.RandomSearch(noise=jnp.float32(0.1)),
}


def rules(instances: js.Instance, steps: int) -> dict:
    """Rules far from the optimum, and near it: the volume rule, and a network after tuning."""
    network = js.policies.mlp_score(FEATURES)
    key = jax.random.key(SEED + 1)
    return {
        "linear far": js.policies.linear_score(FEATURES, (0.3, -0.2, 0.1, 0.0, 0.0, 0.0)),
        "linear near": js.policies.linear_score(FEATURES, (0.0, 0.0, 0.0, 1.0, 0.0, 0.0)),
        "mlp far": network,
        "mlp near": js.tune(network, instances, instances, key, steps=steps, progress=False).rule,
    }


def evaluation_seconds(instances: js.Instance) -> float:
    """Median time of one hard evaluation of all instances."""
    priority = js.prioritize("smallest_volume", instances)
    times = []
    for _ in range(12):
        begin = time.perf_counter()
        jax.block_until_ready(tuning.mean_latency(instances, js.simulate(instances, priority)))
        times.append(time.perf_counter() - begin)
    return float(np.median(times[2:]))


def main() -> None:
    """Fill the table."""
    is_smoke = _common.parser(__doc__).parse_args().smoke
    requests, batch, repeats, limit, steps = (
        (30, 4, 2, 64, 2) if is_smoke else (200, 64, 16, 4096, 150)
    )
    key = jax.random.key(SEED)
    instances = js.workloads.mixed(key, num_requests=requests, batch=batch)
    rows = []
    for rule_name, rule in rules(instances, steps).items():
        reference = tuning.reference_gradient(rule, instances, key, max_simulations=limit)
        for name, estimator in ESTIMATORS.items():
            found = tuning.fidelity(
                rule, estimator, instances, key, reference=reference, repeats=repeats
            )
            row = {"rule": rule_name, "estimator": name, **found._asdict()}
            row["cosine"] = [float(each) for each in found.cosine]
            row["sign_agreement"] = [float(each) for each in found.sign_agreement]
            rows.append(row)
            print(
                f"{rule_name:12} {name:21} cosine {found.cosine.mean:6.3f} "
                f"[{found.cosine.low:6.3f}, {found.cosine.high:6.3f}] "
                f"reference {found.reference_cosine:.4f} {1e3 * found.seconds:6.1f} ms"
            )
    evaluation = evaluation_seconds(instances)
    print(f"one hard evaluation {1e3 * evaluation:.1f} ms")
    _common.write_results(
        "gradients",
        {"manifest": _common.manifest(SEED), "evaluation_s": evaluation, "rows": rows},
    )


if __name__ == "__main__":
    main()
