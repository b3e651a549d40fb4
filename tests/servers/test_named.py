"""Named servers, and the noun that they are."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxsched as js


@pytest.mark.parametrize("name", js.servers.names())
def test_a_named_server_has_a_clock_memory_and_an_error(name):
    known = js.servers.info(name)
    assert known.server.kv_capacity > 10_000
    assert known.server.kv_capacity % known.server.block_size == 0
    assert 0 < known.mean_error <= known.max_error < 1
    assert known.source
    assert js.clock.PRESET_KV_CAPACITY[name] == known.server.kv_capacity
    assert js.clock.PRESETS[name].iteration_ms == known.server.clock.iteration_ms
    assert js.servers.table().loc[name, "kv_capacity"] == known.server.kv_capacity


def test_a_decode_step_of_the_fit_takes_what_the_fit_says():
    """64 requests that hold 1,001 tokens each in round 2: a + 64 c + 64,064 d."""
    clock = js.servers.get("llama3.1_8b_h100").clock
    inst = js.Instance.from_lengths([999] * 64, [2] * 64, kv_capacity=384_000)
    seconds = clock.seconds(inst, js.Schedule.from_starts(inst, [0] * 64), [1, 2])
    expected_ms = 5.897 + 64 * 0.01341 + 64_064 * 4.10e-5
    np.testing.assert_allclose(1000 * (seconds[1] - seconds[0]), expected_ms, rtol=1e-12)
    # 64 prompts: b P + e A with A = sum chunk (computed + chunk / 2).
    expected_ms = 5.897 + 64 * 999 * 0.01684 + 7.53e-7 * 64 * 999**2 / 2
    np.testing.assert_allclose(1000 * seconds[0], expected_ms, rtol=1e-12)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="no server is called 'h100'; did you mean"):
        js.servers.get("h100")


def test_a_server_is_a_pytree_of_numbers_with_static_choices():
    server = js.servers.get("llama3.1_8b_h100")
    leaves, structure = jax.tree.flatten(server)
    choices = [field for field in dataclasses.fields(server) if field.metadata.get("static")]
    assert len(leaves) == len(dataclasses.fields(server)) - len(choices) - 1 + 5  # of the clock
    assert jax.tree.unflatten(structure, leaves).admission == "prompt"
    assert structure != jax.tree.structure(server.replace(admission="chunk"))
    assert structure == jax.tree.structure(server.replace(max_num_seqs=3))


@pytest.mark.parametrize("field", ["admission", "preemption", "victim", "discipline"])
def test_a_choice_that_there_is_not_is_named(field):
    with pytest.raises(ValueError, match=f"{field} is 'swop'; "):
        js.Server(kv_capacity=100, **{field: "swop"})


def test_text_shows_what_is_not_a_default():
    server = js.Server(kv_capacity=np.array([100, 200]), watermark=0.01)
    assert repr(server).startswith("Server(kv_capacity=100..200, block_size=16,")
    assert "watermark=0.01" in repr(server)
    assert "prefill" not in repr(server)
