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
# The same text runs here, on one device, and in a process with several.
FOUND = """
key = jax.random.key(3)
many = js.workloads.mixed(key, num_requests=12, batch=2500)
few = js.workloads.mixed(key, num_requests=12, batch=30)
caps = np.arange(2500) % 5 + 1
sched = js.simulate(many, many.output_tokens)
capped = js.simulate(many, many.prompt_tokens, max_num_seqs=caps, discipline="earliest_fit")
bound = js.bounds.price(few, num_steps=20, num_blocks=2**11)
better = js.improve(few, "fcfs", key=key, num_steps=256, num_chains=16)
found = [sched.start, capped.completion, bound.value, bound.prices, better.priority, better.history]
digests = [hashlib.sha256(np.asarray(each).tobytes()).hexdigest() for each in found]
"""
CHILD = f"""
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
{FOUND}
print(json.dumps([digests, shapes]))
"""


@pytest.mark.jax_defaults
def test_several_devices_give_what_one_gives(pytestconfig):
    child = subprocess.run(
        [sys.executable, "-c", CHILD, jax.config.jax_compilation_cache_dir],
        env={
            **os.environ,
            "PYTHONPATH": str(pytestconfig.rootpath),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={COUNT}",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    digests, shapes = json.loads(child.stdout)
    assert len(shapes) >= 4  # simulate twice, price, improve
    assert min(shapes) > 1
    here = {"hashlib": hashlib, "jax": jax, "np": np, "js": js}
    exec(FOUND, here)
    assert digests == here["digests"]
