"""Building, padding, measuring and keeping instances."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js


def one():
    return js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)


@pytest.mark.usefixtures("x64")
def test_from_lengths_makes_int32_arrays():
    inst = js.Instance.from_lengths([[3.0, 1.0]], np.array([[2, 4]], np.uint8), kv_capacity=8)
    for leaf, dtype, shape in [
        (inst.prompt_tokens, jnp.int32, (1, 2)),
        (inst.output_tokens, jnp.int32, (1, 2)),
        (inst.is_real, jnp.bool_, (1, 2)),
        (inst.kv_capacity, jnp.int32, (1,)),
    ]:
        assert (leaf.dtype, leaf.shape) == (dtype, shape)
    assert inst.prompt_tokens.tolist() == [[3, 1]]
    assert inst.is_real.all()


@pytest.mark.parametrize(
    ("prompt", "output", "capacity", "message"),
    [
        ([[5] * 18] * 3 + [[5] * 17 + [-3]], 1, 9, r"prompt_tokens\[3, 17\] is -3; expected an"),
        ([1, 0], [1, 1], 9, r"prompt_tokens\[1\] is 0; expected an integer >= 1"),
        ([1, 1], [1, 1.5], 9, r"output_tokens\[1\] is 1.5; expected an integer >= 1"),
        ([1, np.nan], [1, 1], 9, r"prompt_tokens\[1\] is nan; expected an integer >= 1"),
        ([1, np.inf], [1, 1], 9, r"prompt_tokens\[1\] is inf; expected an integer >= 1"),
        ([1, 2**31], [1, 1], 9, r"prompt_tokens\[1\] is 2147483648; expected .* below 2\^31"),
        (["a"], [1], 9, "prompt_tokens has dtype <U1; expected integers"),
        ([True], [1], 9, "prompt_tokens has dtype bool; expected integers"),
        ([], [], 9, r"prompt_tokens has shape \(0,\); expected \[.., n\] with n >= 1 requests"),
        (np.ones((0, 3), int), np.ones((0, 3), int), 9, r"prompt_tokens has shape \(0, 3\)"),
        (5, 1, 9, r"prompt_tokens has shape \(\)"),
        ([1, 1], [1], 9, r"output_tokens has shape \(1,\) but prompt_tokens has \(2,\)"),
        ([[1], [2, 3]], [1], 9, "prompt_tokens is ragged; .* join them with stack"),
        ([1, 1], [1, 1], [9, 9], r"kv_capacity has shape \(2,\); expected one integer, or one"),
        ([1], [1], 0, "kv_capacity is 0; expected an integer >= 1"),
        ([[1], [1]], [[1], [1]], [9, 2**31], r"kv_capacity\[1\] is 2147483648"),
        (
            [1, 1, 1, 1, 5000],
            [1, 1, 1, 1, 120],
            4096,
            "request 4 needs 5120 tokens at its end but kv_capacity is 4096: it can never run",
        ),
        ([[1], [9]], [[1], [1]], [2, 9], "request 0 of instance 1 needs 10 tokens"),
        ([1, 1], [2**30, 2**30 - 1], 2**31 - 1, "sum to 2147483647; expected less than 2"),
    ],
)
def test_errors_name_field_position_value_and_expectation(prompt, output, capacity, message):
    output = np.broadcast_to(output, np.shape(prompt)) if np.ndim(output) == 0 else output
    with pytest.raises(ValueError, match=message):
        js.Instance.from_lengths(prompt, output, kv_capacity=capacity)


def test_the_largest_output_sum_is_accepted():
    inst = js.Instance.from_lengths([1, 1], [2**30, 2**30 - 2], kv_capacity=2**31 - 1)
    assert int(inst.output_tokens.sum(dtype=jnp.int32)) == 2**31 - 2


def test_volume_is_memory_times_time():
    assert one().volume.tolist() == [3 * 2 + 3, 1 * 4 + 10]
    assert one().volume.dtype == jnp.float32


def test_stack_pads_to_the_longest():
    short = js.Instance.from_lengths([5], [1], kv_capacity=9)
    inst = js.stack([one(), short])
    assert inst.prompt_tokens.tolist() == [[3, 1], [5, 1]]
    assert inst.output_tokens.tolist() == [[2, 4], [1, 1]]
    assert inst.is_real.tolist() == [[True, True], [True, False]]
    assert inst.kv_capacity.tolist() == [8, 9]
    assert inst.num_requests.tolist() == [2, 1]


def test_stack_of_batches_adds_an_axis():
    batch = js.stack([one(), one()])
    assert js.stack([batch, batch, batch]).prompt_tokens.shape == (3, 2, 2)


def test_stack_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"instances\[1\] has leading axes \(1,\)"):
        js.stack([one(), js.stack([one()])])
    with pytest.raises(ValueError, match="at least one instance"):
        js.stack([])


def test_to_pandas_names_the_extra_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "jaxsched\[pandas\]"'):
        one().to_pandas()


def test_to_pandas_has_a_row_for_each_real_request():
    table = js.stack([one(), js.Instance.from_lengths([5], [1], kv_capacity=9)]).to_pandas()
    assert table.to_dict("list") == {
        "instance": [0, 0, 1],
        "request": [0, 1, 0],
        "kv_capacity": [8, 8, 9],
        "prompt_tokens": [3, 1, 5],
        "output_tokens": [2, 4, 1],
    }


def test_save_and_load_return_the_same(tmp_path):
    inst = js.stack([one(), js.Instance.from_lengths([5], [1], kv_capacity=9)])
    inst.save(tmp_path / "kept")
    loaded = js.Instance.load(tmp_path / "kept")
    for saved, read in zip(jax.tree.leaves(inst), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(saved, read)
        assert saved.dtype == read.dtype


def test_load_refuses_other_files(tmp_path):
    sched = js.Schedule.from_starts(one(), [0, 0])
    sched.save(tmp_path / "schedule.npz")
    with pytest.raises(ValueError, match="holds Schedule, expected Instance"):
        js.Instance.load(tmp_path / "schedule.npz")
    (tmp_path / "text").write_text("prompt,output\n")
    with pytest.raises(ValueError, match="not an npz file written by jaxsched"):
        js.Instance.load(tmp_path / "text")
    np.savez(tmp_path / "other.npz", prompt_tokens=[1])
    with pytest.raises(ValueError, match="holds something else"):
        js.Instance.load(tmp_path / "other.npz")


class TestShown:
    def test_repr_is_short_also_for_tracers(self):
        assert repr(one()) == "Instance(n=2, kv_capacity=8)"
        seen = []
        closed_over = one()

        def look(inst):
            seen.extend([repr(inst), repr(closed_over), inst._repr_html_()])
            return inst

        jax.jit(look)(one())
        jax.vmap(look)(js.stack([one(), one()]))
        short, known = "Instance(n=2)", "Instance(n=2, kv_capacity=8)"
        assert seen == 2 * [short, known, f"<code>{short}</code>"]
        assert repr(jax.eval_shape(lambda inst: inst, one())) == "Instance(n=2)"

    def test_padding_is_counted_apart(self):
        single = js.Instance.from_lengths([100], [3], kv_capacity=200)
        batch = js.stack([one(), single])
        assert repr(batch) == ("Instance(leading=(2,), n=2, num_requests=1..2, kv_capacity=8..200)")
        shown = batch._repr_html_()
        assert "2 backlogs of 1..2 requests, 8..200 KV tokens" in shown
        assert "rows of padding, not counted: 1" in shown
        assert ">34.7<" in shown  # mean of the prompts 3, 1 and 100, without the padding's 1

    def test_leaves_that_are_no_arrays_are_written_out(self):
        axes = jax.tree.map(lambda leaf: 0, one())
        assert repr(axes) == (
            "Instance(prompt_tokens=0, output_tokens=0, is_real=0, kv_capacity=0)"
        )
        assert axes._repr_html_() == f"<code>{axes!r}</code>"


def test_an_instance_is_a_pytree_that_maps():
    batch = js.stack([one(), one()])
    doubled = jax.vmap(lambda inst: inst.replace(kv_capacity=inst.kv_capacity * 2))(batch)
    assert doubled.kv_capacity.tolist() == [16, 16]
