"""How many compiled programs a process keeps."""

import jax
import pytest

import jaxsched as js
from jaxsched._lib import programs


@pytest.fixture
def forgotten(monkeypatch):
    """Count how often jax is to forget its programs; they are kept for other tests."""
    calls = []
    monkeypatch.setattr(jax, "clear_caches", lambda: calls.append("cleared"))
    monkeypatch.setattr(programs, "MOST_KEPT", 4)
    monkeypatch.setattr(programs, "_num_kept", 0)
    return calls


def instance(n):
    return js.Instance.from_lengths([3] * n, [2] * n, kv_capacity=40)


def test_many_shapes_do_not_stay(forgotten):
    def by_prompt(inst):  # a rule of its own, which nothing has compiled yet
        return inst.prompt_tokens

    for n in range(2, 14):
        js.prioritize(instance(n), by_prompt)
    assert 1 < len(forgotten) < 12


def test_few_shapes_stay(forgotten):
    def by_output(inst):
        return inst.output_tokens

    for _ in range(3):
        for n in (2, 3, 4):
            js.prioritize(instance(n), by_output)
    assert forgotten == []


def test_numbers_are_the_same_where_programs_are_forgotten_in_a_trace(forgotten, monkeypatch):
    inst = instance(3)
    expected = js.simulate(inst, [2, 1, 0]).start.tolist()
    monkeypatch.setattr(programs, "MOST_KEPT", -1)
    found = jax.jit(lambda: js.simulate(inst, [2, 1, 0]).start)()
    assert found.tolist() == expected
    assert forgotten
