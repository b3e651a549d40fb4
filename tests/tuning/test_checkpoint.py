"""Runs that are killed and go on: same bits as runs that were not."""

import functools
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.conftest import ROOT
from tests.tuning import toy

KILLED = """
import os, signal
from tests.tuning.test_checkpoint import run
from tests.tuning import toy
saves = 0
real_fsync = os.fsync
def fsync(file):
    global saves
    saves += 1
    if saves > {saves}:
        os.kill(os.getpid(), signal.SIGKILL)
    real_fsync(file)
os.fsync = fsync
run({folder!r}, toy.KilledAtStep, kill_at={steps})
"""


def run(folder, kind=toy.Towards, steps=12, key=3, optimizer=None, **settings):
    estimator = kind(target=jnp.array([1.0, 0.0]), noise=jnp.float32(0.2), **settings)
    return js.tune(
        toy.start(),
        train=toy.instances(1),
        validation=toy.instances(2),
        key=jax.random.key(key),
        estimator=estimator,
        optimizer=optimizer,
        steps=steps,
        minibatch_size=2,
        validate_every=2,
        checkpoint_dir=folder,
    )


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saves", "steps"),
    [pytest.param(99, 7, marks=pytest.mark.slow), (3, 99)],
    ids=["in a step", "in a write"],
)
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, saves, steps):
    folder = tmp_path / "run"
    script = KILLED.format(folder=str(folder), saves=saves, steps=steps)
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == (2 if saves == 3 else 1)  # half a file
    toy.calls = -1000  # this process is not to be killed
    resumed = run(folder, toy.KilledAtStep, kill_at=steps)
    assert toy.calls == -1000 + 12 - 6  # the six steps before the last checkpoint are not redone
    assert_equal(resumed, run(None))
    assert [path.name for path in folder.iterdir()] == ["tuning.npz"]


def test_a_finished_run_is_read_back_and_goes_on_if_given_more_steps(tmp_path):
    first = run(tmp_path, steps=4)
    assert_equal(run(tmp_path, steps=4), first)
    assert_equal(run(tmp_path, steps=12), run(None))
    assert [path.name for path in tmp_path.iterdir()] == ["tuning.npz"]


def test_random_optimizers_keep_their_key(tmp_path):
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(0.1))
    run(tmp_path, steps=4, optimizer=noisy)
    assert_equal(run(tmp_path, optimizer=noisy), run(None, optimizer=noisy))


@pytest.mark.parametrize("other", [{"key": 4}, {"optimizer": optax.sgd(0.1)}])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, other):
    run(tmp_path, steps=2)
    with pytest.raises(ValueError, match="belongs to a run with another rule"):
        run(tmp_path, **other)


def tuned_into(folder, features, power):
    return js.tune(
        js.policies.linear_score(features, (1.0, 0.5)),
        train=toy.instances(1),
        validation=toy.instances(2),
        key=jax.random.key(3),
        objective=functools.partial(js.tuning.p_norm, power=power),
        steps=2,
        checkpoint_dir=folder,
    )


@pytest.mark.parametrize(
    "other", [(("log_output", "log_total"), 2.0), (("log_output", "log_prompt"), 3.0)]
)
def test_features_and_objective_tell_runs_apart(tmp_path, other):
    """Neither is a leaf: the one is static, the other a function with an argument."""
    first = tuned_into(tmp_path, ("log_output", "log_prompt"), 2.0)
    assert_equal(tuned_into(tmp_path, ("log_output", "log_prompt"), 2.0), first)
    with pytest.raises(ValueError, match="belongs to a run with another rule"):
        tuned_into(tmp_path, *other)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "tuning.npz").write_bytes(b"something")
    with pytest.raises(ValueError, match="not an npz file written by jaxsched"):
        run(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(folder, steps=4)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_what_kills_left_is_removed_by_the_next_run(folder):
    others = folder / "notes.txt", folder / ".notes"
    left = folder / ".tuning.0123456789abcdef.npz", folder / ".tuning.npz.4711"
    for path in (*left, *others):
        path.write_bytes(b"half")
    run(folder, steps=4)
    assert {path.name for path in folder.iterdir()} == {"tuning.npz", "notes.txt", ".notes"}


# Members by their place: the steps made, the rule, the optimizer's state, the best rule, and of the
# history the training values, the steps of validations and their values.
STEP, RULE, COUNT, BEST, TRAIN, AT, VALIDATION = 0, 1, 2, -4, -3, -2, -1


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (RULE, lambda leaf: leaf[:1], r"has shape \(1,\); expected \(2,\)"),
        (RULE, lambda leaf: leaf[None], r"has shape \(1, 2\); expected \(2,\)"),
        (RULE, lambda leaf: leaf.astype(np.float64), "has dtype float64; expected float32"),
        (RULE, lambda leaf: leaf * 1j, "has dtype complex.*; expected"),
        (RULE, lambda leaf: leaf.astype(str), "has dtype <U.*; expected float32"),
        (RULE, lambda leaf: leaf * np.float32(np.nan), "a state that no run leads to; delete it"),
        (BEST, lambda leaf: leaf * np.float32(np.inf), "a state that no run leads to; delete it"),
        (COUNT, lambda leaf: leaf.astype(np.int64), "has dtype int64; expected int32"),
        (STEP, lambda leaf: leaf.astype(bool), "has dtype bool; expected int64"),
        (STEP, lambda leaf: leaf + 1, "a state that no run leads to"),
        (STEP, lambda leaf: -leaf, "a state that no run leads to"),
        (STEP, lambda leaf: leaf[None], r"has shape \(1,\); expected \(\)"),
        (TRAIN, lambda leaf: leaf[:-1], "a state that no run leads to"),
        (TRAIN, lambda leaf: leaf[None], r"has shape \(1, 4\); expected \(0,\)"),
        (AT, lambda leaf: leaf[::-1], "a state that no run leads to"),
        (AT, lambda leaf: leaf + 1, "a state that no run leads to"),
        (VALIDATION, lambda leaf: leaf[:0], "a state that no run leads to"),
    ],
)
def test_leaves_that_no_run_leaves_are_refused(folder, place, change, message):
    path = folder / "tuning.npz"
    with np.load(path) as file:
        members = dict(file)
    names = [f"leaf_{number}" for number in range(len(members) - 2)]  # but kind and run
    name = names[place]
    np.savez(path, **{**members, name: np.asarray(change(members[name]))})
    with pytest.raises(ValueError, match=message) as caught:
        run(folder)
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value)) < 400


def test_members_that_are_lacking_or_too_many_are_refused(folder):
    path = folder / "tuning.npz"
    with np.load(path) as file:
        members = dict(file)
    np.savez(path, **members, leaf_99=np.zeros(2))
    with pytest.raises(ValueError, match="holds the member 'leaf_99', which Tuning does not have"):
        run(folder)
    del members["leaf_1"]
    np.savez(path, **members)
    with pytest.raises(ValueError, match="lacks the field 'leaf_1' of Tuning"):
        run(folder)
