"""Several devices give what one gives, to the bit."""

import hashlib
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxsched as js

COUNT = 4
DEVICES = f"--xla_force_host_platform_device_count={COUNT}"
# The same text runs here, on one device, and in a process with several.
SIMULATE = """
many = js.workloads.mixed(jax.random.key(3), num_requests=12, batch=2500)
caps = np.arange(2500) % 5 + 1
sched = js.simulate(many, many.output_tokens)
capped = js.simulate(many, many.prompt_tokens, max_num_seqs=caps, discipline="earliest_fit")
results = [sched.start, capped.completion]
"""
BOUND_AND_SEARCH = """
key = jax.random.key(3)
few = js.workloads.mixed(key, num_requests=12, batch=30)
bound = js.bounds.price(few, num_steps=20, num_blocks=2**11)
better = js.improve(few, "fcfs", key=key, num_steps=256, num_chains=16)
results = [bound.value, bound.prices, better.priority, better.history]
"""
DIGESTS = "[hashlib.sha256(np.asarray(each).tobytes()).hexdigest() for each in results]"
CHILD = """
import hashlib, json, sys
import jax, numpy as np
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
import jaxsched as js
shapes, shard_map = [], jax.shard_map
def counted(*args, **options):
    shapes.append(options["mesh"].size)
    return shard_map(*args, **options)
jax.shard_map = counted
exec(sys.argv[2])
print(json.dumps([eval(sys.argv[3]), shapes]))
"""


@pytest.mark.slow
@pytest.mark.jax_defaults
@pytest.mark.parametrize(
    "computed",
    [
        pytest.param(SIMULATE, id="simulate"),
        pytest.param(BOUND_AND_SEARCH, id="bound and search", marks=pytest.mark.slow),
    ],
)
def test_several_devices_give_what_one_gives(computed, pytestconfig):
    cache = jax.config.jax_compilation_cache_dir
    child = subprocess.run(
        [sys.executable, "-c", CHILD, cache, computed, DIGESTS],
        env={
            **os.environ,
            "PYTHONPATH": str(pytestconfig.rootpath),
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICES}",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    digests, shapes = json.loads(child.stdout)
    assert len(shapes) >= 2  # simulate twice; price and improve
    assert min(shapes) > 1
    here = {"hashlib": hashlib, "jax": jax, "np": np, "js": js}
    exec(computed, here)
    assert digests == eval(DIGESTS, here)
