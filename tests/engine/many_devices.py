"""What test_transformations asks of a process with four devices: `python -m ... ENGINE CACHE`.

Each check computes the same numbers in another way that jax has; the names of those that hold are
printed, as JSON, beside the errors of those that do not.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxsched as js
from jaxsched._lib import arrays, chunks, devices, resident

BATCH, N = 8, 20
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 30, (2, BATCH, N))
INST = js.Instance.from_lengths(*LENGTHS, kv_capacity=100)
ORDER = RNG.permuted(np.tile(np.arange(N, dtype=np.int32), (BATCH, 1)), axis=1)
REQS = js.Requests.from_arrays(np.sort(RNG.uniform(0, 3, (BATCH, N))), *LENGTHS)
SERVER = js.servers.get("llama3.1_8b_h100").replace(kv_capacity=160)

LEAST_SERVED = js.policies.dynamic(
    lambda obs, tokens: tokens,
    init=lambda obs: jnp.zeros(obs.prompt_tokens.shape, jnp.int32),
    update=lambda tokens, obs, events: tokens + events.computed_tokens,
)

# A computation for each engine, and what it is given.
ENGINES = {
    "strict": (lambda inst, order: js.simulate(inst, order).start, (INST, ORDER)),
    "earliest_fit": (
        lambda inst, order: js.simulate(inst, order, discipline="earliest_fit").start,
        (INST, ORDER),
    ),
    "fcfs": (lambda reqs: js.serve(reqs, SERVER).completion, (REQS,)),
    "shortest_output": (
        lambda reqs: js.serve(reqs, SERVER, "shortest_output").completion,
        (REQS,),
    ),
    "dynamic": (
        lambda reqs: js.serve(reqs, SERVER, LEAST_SERVED).completion,
        (REQS,),
    ),
}


def mesh_of(kind, sizes=(4,)):
    return jax.make_mesh(sizes, ("x", "y")[: len(sizes)], axis_types=(kind,) * len(sizes))


def placed(given, kind):
    return jax.device_put(given, NamedSharding(mesh_of(kind), P("x")))


def is_spread(array):
    return len(array.sharding.device_set) == 4 and not array.sharding.is_fully_replicated


def shard_map(compute, given):
    mesh = Mesh(np.asarray(jax.devices()), ("x",))
    specs = {"in_specs": P("x"), "out_specs": P("x")}
    return jax.shard_map(compute, mesh=mesh, **specs)(*given)


def shard_map_over_one_axis_of_two(compute, given):
    mesh = Mesh(np.asarray(jax.devices()).reshape(2, 2), ("x", "y"))
    specs = {"in_specs": P("y"), "out_specs": P("y")}
    return jax.jit(jax.shard_map(compute, mesh=mesh, **specs))(*given)


def vmap_in_shard_map(compute, given):
    return shard_map(jax.vmap(compute), given)


def jit_of_vmap(compute, given):
    return jax.jit(jax.vmap(compute))(*given)


def explicit_axes(compute, given):
    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        found = jax.jit(compute)(*placed(given, AxisType.Explicit))
    assert is_spread(found)
    return found


def explicit_axes_of_requests(compute, given):
    """Requests are sharded, too: each device gets all those of its own instances."""
    mesh = mesh_of(AxisType.Explicit, (2, 2))

    def spec(leaf):
        return NamedSharding(mesh, P("x", "y") if np.ndim(leaf) == 2 else P("x"))

    found = jax.jit(compute)(*jax.device_put(given, jax.tree.map(spec, given)))
    assert found.sharding.spec[0] == "x"
    return found


def automatic_axes(compute, given):
    found = jax.jit(compute)(*placed(given, AxisType.Auto))
    assert is_spread(found)
    return found


def automatic_axes_that_do_not_divide(compute, given):
    """Instances 0 to 5 of 8, taken inside jit, cannot be shared out evenly."""

    def of_six(*given):
        return compute(*jax.tree.map(lambda leaf: leaf[:6], given))

    found = jax.jit(of_six)(*placed(given, AxisType.Auto))
    return np.concatenate([found, np.asarray(compute(*given))[6:]])


def sharded_arrays(compute, given):
    found = compute(*placed(given, AxisType.Auto))
    assert is_spread(found)
    return found


def sharded_arrays_of_explicit_axes(compute, given):
    found = compute(*placed(given, AxisType.Explicit))
    assert is_spread(found)
    return found


def donated(compute, given):
    mine = placed(given, AxisType.Auto)
    return jax.jit(compute, donate_argnums=len(given) - 1)(*mine)


def on_accelerators(compute, given):
    """Arrays stay where they are computed, as they do where devices are no CPUs."""
    kept = chunks.device_chunk_size
    chunks.is_cpu = arrays.is_cpu = lambda _: False
    try:
        found = compute(*given)
        # Two instances a device in a call, the last call not full.
        resident.device_chunk_size = lambda *_, **__: 2
        rest = compute(
            *jax.tree.map(lambda leaf: leaf.reshape(2, 4, *leaf.shape[1:])[:, :3], given)
        )
        alone = compute(*jax.tree.map(lambda leaf: leaf[:1], given))
    finally:
        chunks.is_cpu = arrays.is_cpu = devices.is_cpu
        resident.device_chunk_size = kept
    assert isinstance(found, jax.Array)
    assert is_spread(found)
    expected = np.asarray(found).reshape(2, 4, N)[:, :3]
    np.testing.assert_array_equal(np.asarray(rest), expected)
    assert len(alone.sharding.device_set) == 1
    np.testing.assert_array_equal(np.asarray(alone), np.asarray(found)[:1])
    return found


def rules_and_metrics_on_meshes(compute, given):
    """A rule, a schedule and its metrics, in one program and one after the other."""

    def total_latency(inst):
        sched = js.simulate(inst, js.prioritize(inst, "smallest_volume"))
        return js.metrics.summary(inst, sched)["total_latency_rounds"].astype(np.float32)

    expected = total_latency(INST)
    for kind in (AxisType.Explicit, AxisType.Auto):
        (inst,) = placed((INST,), kind)
        for found in (total_latency(inst), jax.jit(total_latency)(inst)):
            np.testing.assert_array_equal(np.asarray(found), expected)
    return compute(*given)


def metrics_keep_the_sharding(compute, given):
    """Metrics, seconds, verdicts and bounds of sharded schedules, in no program of the caller's."""
    sched = js.simulate(INST, ORDER)
    clock = js.clock.PRESETS["llama2_70b_2xa100"]

    def measured(inst, sched):
        return (
            js.metrics.summary(inst, sched, clock, 3.0),
            js.metrics.latency(inst, sched, clock),
            js.metrics.peak_kv_tokens(inst, sched),
            clock.seconds(inst, sched, sched.completion),
            js.verify(inst, sched),
            js.bounds.volume(inst),
        )

    expected = jax.tree.leaves(measured(INST, sched))
    for kind in (AxisType.Explicit, AxisType.Auto):
        found = jax.tree.leaves(measured(*placed((INST, sched), kind)))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert is_spread(one)
            assert one.dtype == other.dtype
            np.testing.assert_allclose(np.asarray(one), other, rtol=1e-14)
    return compute(*given)


def export_to_disk_and_back(compute, given):
    there = jax.export.export(jax.jit(compute))(*given).serialize()
    return jax.export.deserialize(there).call(*given)


def gradient_is_zero(compute, given):
    leaves, structure = jax.tree.flatten(given)

    def total(scale):
        scaled = [leaf * scale if leaf.dtype == jnp.float32 else leaf for leaf in leaves]
        return compute(*jax.tree.unflatten(structure, scaled)).astype(jnp.float32).sum()

    leaves = [jnp.asarray(leaf, jnp.float32) if leaf is ORDER else leaf for leaf in leaves]
    assert float(jax.grad(total)(jnp.float32(1.0))) == 0
    return compute(*given)


CHECKS = (
    shard_map,
    shard_map_over_one_axis_of_two,
    vmap_in_shard_map,
    jit_of_vmap,
    explicit_axes,
    explicit_axes_of_requests,
    automatic_axes,
    automatic_axes_that_do_not_divide,
    sharded_arrays,
    sharded_arrays_of_explicit_axes,
    donated,
    on_accelerators,
    rules_and_metrics_on_meshes,
    metrics_keep_the_sharding,
    export_to_disk_and_back,
    gradient_is_zero,
)


def main():
    name, cache = sys.argv[1:]
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    compute, given = ENGINES[name]
    given = jax.tree.map(jnp.asarray, given) if name in ("strict", "earliest_fit") else given
    expected = np.asarray(compute(*given))
    errors = {}
    for check in CHECKS:
        try:
            np.testing.assert_array_equal(np.asarray(check(compute, given)), expected)
            errors[check.__name__] = ""
        except Exception as error:
            errors[check.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
