"""Anybody's schedule, and the judge of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js


def instance(capacity=8):
    return js.stack(
        [
            js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=capacity),
            js.Instance.from_lengths([4], [2], kv_capacity=capacity),
        ]
    )


def test_from_starts_completes_after_the_output():
    sched = js.Schedule.from_starts(instance(), [[0, 3], [1, 99]])
    assert sched.start.tolist() == [[0, 3], [1, -1]]
    assert sched.completion.tolist() == [[2, 7], [3, -1]]
    assert sched.status.tolist() == [0, 0]
    assert sched.start.dtype == jnp.int32


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ([[0, -1], [0, 0]], r"start\[0, 1\] is -1; expected a whole round >= 0"),
        ([[0, 0.5], [0, 0]], r"start\[0, 1\] is 0.5; expected a whole round"),
        ([[0, 0], [np.nan, 0]], r"start\[1, 0\] is nan; expected a whole round"),
        ([[0, 2**31 - 3], [0, 0]], r"start\[0, 1\] is 2147483645; .* time to complete"),
        ([[0, 0]], r"start has shape \(1, 2\) but the instance has \(2, 2\)"),
        ([["x", "y"], ["z", "w"]], "start has dtype <U1; expected integers"),
    ],
)
def test_from_starts_errors(start, message):
    with pytest.raises(ValueError, match=message):
        js.Schedule.from_starts(instance(), start)


def test_verify_names_the_first_violated_round():
    # Rounds 1 and 2 hold 4 + 2 and 5 + 3 tokens in the first instance, 5 and 6 in the second.
    sched = js.Schedule.from_starts(instance(capacity=6), [[0, 0], [0, 0]])
    verdict = js.verify(instance(capacity=6), sched)
    assert verdict.is_feasible.tolist() == [False, True]
    assert verdict.first_violated_round.tolist() == [2, -1]
    assert verdict.tokens_held.tolist() == [8, 0]
    assert verdict.kv_capacity.tolist() == [6, 6]


def test_verify_agrees_with_a_count_of_every_round():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, capacity = rng.integers(1, 7), 12
        prompt = rng.integers(1, 7, n)
        output = rng.integers(1, 6, n)
        start = rng.integers(0, 12, n)
        inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity)
        held = [
            sum(s + t - p for s, o, p in zip(prompt, output, start, strict=True) if p < t <= p + o)
            for t in range(1, 20)
        ]
        over = [t for t in range(1, 20) if held[t - 1] > capacity]
        verdict = js.verify(inst, js.Schedule.from_starts(inst, start))
        assert bool(verdict.is_feasible) == (not over)
        assert int(verdict.first_violated_round) == (over[0] if over else -1)
        assert int(verdict.tokens_held) == (held[over[0] - 1] if over else 0)


def test_verify_of_single_instances_and_leading_axes():
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    assert js.verify(inst, js.Schedule.from_starts(inst, [0, 0])).is_feasible.shape == ()
    folded = js.stack([js.stack([inst, inst, inst])])
    sched = js.Schedule.from_starts(folded, np.zeros((1, 3, 2), int))
    assert js.verify(folded, sched).is_feasible.tolist() == [[True] * 3]


def test_verify_refuses_what_is_no_schedule_of_the_instance():
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    sched = js.Schedule.from_starts(inst, [0, 0])
    late = sched.replace(completion=sched.completion + 1)
    with pytest.raises(ValueError, match=r"completion\[0\] is 3; expected start \+ output_tokens"):
        js.verify(inst, late)
    missing = sched.replace(start=sched.start - 1)
    with pytest.raises(ValueError, match=r"start\[0\] is -1; expected a round >= 0"):
        js.verify(inst, missing)
    with pytest.raises(ValueError, match=r"schedule has shape \(2, 2\) but the instance has"):
        js.verify(inst, js.Schedule.from_starts(instance(), [[0, 0], [0, 0]]))
    with pytest.raises(ValueError, match="NaN, which has no place in an order"):
        js.verify(inst, js.simulate(inst, [np.nan, 1.0]))


def test_save_load_and_table(tmp_path):
    sched = js.Schedule.from_starts(instance(), [[0, 3], [1, 0]])
    sched.save(tmp_path / "s.npz")
    loaded = js.Schedule.load(tmp_path / "s.npz")
    np.testing.assert_array_equal(loaded.completion, sched.completion)
    assert loaded.to_pandas().to_dict("list") == {
        "instance": [0, 0, 1],
        "request": [0, 1, 0],
        "start": [0, 3, 1],
        "completion": [2, 7, 3],
    }


class TestShown:
    def test_repr_is_short_also_for_tracers(self):
        sched = js.Schedule.from_starts(instance(), [[0, 0], [9, 0]])
        assert repr(sched) == "Schedule(leading=(2,), n=2, makespan=4..11)"
        seen = []
        jax.vmap(lambda sched: (seen.append(repr(sched)), sched)[1])(sched)
        assert seen == ["Schedule(n=2)"]
        assert repr(jax.tree.map(lambda leaf: 0, sched)) == (
            "Schedule(start=0, completion=0, status=0)"
        )

    def test_instances_without_a_schedule_are_named(self):
        inst = instance()
        priority = np.array([[1.0, 2.0], [np.nan, 1.0]])
        sched = js.simulate(inst, priority)
        assert repr(sched).endswith(", NAN_PRIORITY in 1 of 2)")
        assert js.Status.NAN_PRIORITY.sentence in sched._repr_html_()
        alone = jax.tree.map(lambda leaf: leaf[1], sched)
        assert repr(alone) == "Schedule(n=2, status=NAN_PRIORITY)"
        assert alone._repr_html_() == f"<code>{alone!r}</code>"

    def test_leaves_of_no_meaning_are_shown_all_the_same(self):
        sched = js.Schedule.from_starts(instance(), [[0, 0], [9, 0]])
        odd = jax.tree.map(lambda leaf: leaf * 0 + 7, sched)
        assert repr(odd) == "Schedule(leading=(2,), n=2, status 7 in 2 of 2)"
        assert odd._repr_html_() == f"<code>{odd!r}</code>"

    def test_html_leaves_padding_out(self):
        shown = js.Schedule.from_starts(instance(), [[0, 7], [2, 0]])._repr_html_()
        assert "Schedule of 2 backlogs of 1..2 requests" in shown
        assert "rows of padding, not counted: 1" in shown
        assert ">3<" in shown  # mean of the starts 0, 7 and 2


@pytest.mark.parametrize("status", js.Status)
def test_every_status_is_a_sentence(status):
    assert len(status.sentence.split()) > 4
