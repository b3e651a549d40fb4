"""Every public kernel is lowered for every kind of device from a host that has none of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.engine.gpu import operation
from jaxsched.engine.online.arrivals import ranks
from jaxsched.engine.order import order_by_digits, order_by_pairs
from tests.house.test_lazy_names import printed

ACCELERATORS = "cuda", "rocm", "tpu"
TRITON, MOSAIC_GPU = "__gpu$xla.gpu.triton", "mosaic_gpu"


def custom_calls(function, arguments, platforms):
    lowered = jax.jit(lambda *given: function(*given)).trace(*arguments)
    text = lowered.lower(lowering_platforms=platforms).as_text()
    return set(re.findall(r"custom_call @([\w$.]+)", text))


@pytest.fixture(scope="module")
def backlogs():
    """Four backlogs of more requests than the kernel has slots."""
    inst = js.Instance.from_lengths(np.ones((4, 600)), np.ones((4, 600)), kv_capacity=9)
    return inst, jnp.zeros((4, 600)), jnp.ones(4, jnp.int32)


def simulated(discipline="strict", admission="look_ahead", is_capped=True):
    def function(inst, priority, cap):
        cap = cap if is_capped else None
        words = {"discipline": discipline, "admission": admission}
        return js.simulate(inst, priority, max_num_seqs=cap, **words).start

    return function


@pytest.mark.parametrize("platform", ACCELERATORS)
@pytest.mark.parametrize("discipline", ["strict", "earliest_fit"])
def test_backlogs(backlogs, discipline, platform):
    calls = custom_calls(simulated(discipline), backlogs, (platform,))
    assert calls == ({TRITON} if platform == "cuda" else set())


@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
@pytest.mark.parametrize("is_capped", [False, True])
@pytest.mark.parametrize(
    ("compiler", "call"),
    [
        ("triton", TRITON),
        pytest.param("mosaic_gpu", MOSAIC_GPU, marks=pytest.mark.slow),
        ("off", None),
    ],
)
def test_both_compilers_take_every_form_of_strict_order(
    backlogs, monkeypatch, admission, is_capped, compiler, call
):
    monkeypatch.setenv("JAXSCHED_GPU_KERNEL", compiler)
    function = simulated(admission=admission, is_capped=is_capped)
    calls = custom_calls(function, backlogs, ("cuda",))
    assert len(calls) == (call is not None)
    assert all(name.startswith(call) for name in calls)


@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
@pytest.mark.parametrize("is_capped", [False, True])
def test_triton_takes_every_form_of_earliest_fit(backlogs, admission, is_capped):
    function = simulated("earliest_fit", admission, is_capped)
    assert custom_calls(function, backlogs, ("cuda",)) == {TRITON}


@pytest.mark.parametrize("compiler", ["mosaic_gpu", "off"])
def test_earliest_fit_is_without_a_kernel_elsewhere(backlogs, monkeypatch, compiler):
    monkeypatch.setenv("JAXSCHED_GPU_KERNEL", compiler)
    assert custom_calls(simulated("earliest_fit"), backlogs, ("cuda",)) == set()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("discipline", ["strict", "earliest_fit"])
def test_one_module_for_several_platforms(backlogs, discipline):
    calls = custom_calls(simulated(discipline), backlogs, ("cpu", *ACCELERATORS))
    assert calls == {TRITON}


@pytest.fixture(scope="module")
def streams():
    return js.Requests.from_arrays(np.zeros((2, 8)), np.ones((2, 8)), np.ones((2, 8)))


def served(**settings):
    server = js.servers.get("llama3.1_8b_h100").replace(**settings)
    return lambda reqs: js.serve(reqs, server).completion


@pytest.mark.parametrize("platform", ACCELERATORS)
@pytest.mark.parametrize(
    ("settings", "has_kernel"),
    [
        pytest.param({}, True, id="quick"),
        pytest.param({"policy": "priority"}, True, id="by rank", marks=pytest.mark.slow),
        pytest.param({"victim": "longest_remaining"}, False, id="general", marks=pytest.mark.slow),
    ],
)
def test_serving(streams, platform, settings, has_kernel):
    calls = custom_calls(served(**settings), (streams,), (platform,))
    assert calls == ({TRITON} if has_kernel and platform == "cuda" else set())


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["mosaic_gpu", "off"])
def test_serving_has_no_kernel_but_by_triton(streams, monkeypatch, compiler):
    monkeypatch.setenv("JAXSCHED_GPU_KERNEL", compiler)
    assert custom_calls(served(), (streams,), ("cuda",)) == set()


def test_gradients_pass_a_simulation_by(backlogs):
    inst, priority, cap = backlogs

    def loss(priority):
        return jnp.sum(priority) + jnp.sum(simulated()(inst, priority, cap)).astype(jnp.float32)

    assert custom_calls(jax.grad(loss), (priority,), ("cuda",)) == set()
    assert custom_calls(jax.value_and_grad(loss), (priority,), ("cuda",)) == {TRITON}


def test_a_version_that_was_not_tested_has_no_kernel_and_says_so(backlogs, monkeypatch):
    monkeypatch.setattr(operation, "version", lambda name: "0.99.1")
    with pytest.warns(UserWarning, match=r"jax 0.99.1 was not tested with jaxsched's GPU kernels"):
        assert custom_calls(simulated(), backlogs, ("cuda",)) == set()


def test_an_unknown_compiler_is_refused(backlogs, monkeypatch):
    monkeypatch.setenv("JAXSCHED_GPU_KERNEL", "tritn")
    with pytest.raises(ValueError, match=r"JAXSCHED_GPU_KERNEL .*triton"):
        custom_calls(simulated(), backlogs, ("cuda",))


def test_no_cpu_imports_pallas():
    code = """
import sys, jax, jax.numpy as jnp, jaxsched as js
inst = js.Instance.from_lengths([1, 2], [2, 1], kv_capacity=4)
jax.jit(js.simulate).lower(inst, jnp.zeros(2))
js.serve(js.Requests.from_arrays([0], [1], [1]), js.servers.get("llama3.1_8b_h100"))
print([name for name in sys.modules if name.startswith("jax.experimental.pallas")])
"""
    assert printed(code) == "[]\n"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int8", "uint32"])
def test_both_sorts_of_devices_give_one_order(dtype):
    rng = np.random.default_rng(0)
    if dtype.startswith("float"):
        spread, few = rng.normal(0, 100, (3, 50)), rng.choice([-np.inf, np.inf, -0.0, 0.0], (3, 50))
    else:
        limits = np.iinfo(dtype)
        spread = rng.integers(limits.min, limits.max, (3, 50), dtype, endpoint=True)
        few = rng.integers(0, 4, (3, 50))
    keys = np.concatenate([spread, few], axis=-1).astype(dtype)[:, rng.permutation(100)]
    expected = np.argsort(keys, axis=-1, kind="stable")
    np.testing.assert_array_equal(order_by_digits(jnp.asarray(keys)), expected)
    np.testing.assert_array_equal(order_by_pairs(jnp.asarray(keys)), expected)


def test_the_smallest_numbers_are_told_from_zero():
    keys = np.array([1e-40, 0.0, -1e-45, -0.0, 1e-45], np.float32)
    assert order_by_digits(jnp.asarray(keys)).tolist() == [2, 1, 3, 4, 0]
    assert order_by_pairs(jnp.asarray(keys)).tolist() == [2, 1, 3, 4, 0]
    with jax.enable_x64(True):
        rank, by_rank, tier = ranks(jnp.asarray(keys)[None], jnp.zeros((1, 5), jnp.float64))
    assert by_rank[0].tolist() == [2, 1, 3, 4, 0]
    assert rank[0].tolist() == [4, 1, 0, 2, 3]
    assert tier[0].tolist() == [3, 1, 0, 1, 2]
