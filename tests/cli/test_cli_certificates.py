"""``jaxsched bound`` and ``jaxsched improve``, as a user meets them."""

import csv
import json
import os

import jax
import numpy as np
import pytest

import jaxsched as js

SMALL = ["--workload", "chat", "--requests", "20", "--capacity", "1200"]


def backlog(batch):
    return js.workloads.chat(jax.random.key(0), 20, batch=batch, kv_capacity=1200)


class TestBound:
    def test_says_what_the_library_says(self, run, tmp_path):
        files = [tmp_path / "out.json", tmp_path / "out.csv"]
        targets = ["--json", files[0], "--csv", files[1]]
        code, out, _ = run("bound", *SMALL, "--instances", 3, *targets)
        assert code == 0
        inst = backlog(3)
        total = js.metrics.summary(inst, js.simulate(inst, js.prioritize(inst, "svf")))
        rows = json.loads(files[0].read_text())["bounds"]
        assert [row["bound"] for row in rows] == ["volume", "mean_busy", "price"]
        for row, value in zip(
            rows,
            (js.bounds.volume(inst), js.bounds.mean_busy(inst), js.bounds.price(inst).value),
            strict=True,
        ):
            assert row["mean_latency_rounds"] == pytest.approx(np.mean(value / 20))
            gap = np.mean(total["total_latency_rounds"] / value - 1)
            assert row["gap"] == pytest.approx(gap)
            assert row["bound"] in out
        with files[1].open() as file:
            assert [row["bound"] for row in csv.DictReader(file)] == [row["bound"] for row in rows]

    def test_of_one_instance_and_one_bound(self, run):
        code, out, _ = run("bound", *SMALL, "--instances", 1, "--bounds", "volume")
        assert code == 0
        assert "mean_busy" not in out
        assert "±" not in out

    def test_unknown_names_are_answered(self, run):
        assert run("bound", "--bounds", "prise")[::2] == (
            2,
            "jaxsched: error: no bound is called 'prise'; did you mean 'price'?\n",
        )
        code, _, err = run("bound", *SMALL, "--policy", "fcfa")
        assert code == 2
        assert "did you mean 'fcfs'" in err


class TestImprove:
    FLAGS = ("--steps", 60, "--chains", 2)

    @pytest.mark.parametrize(
        "discipline", ["strict", pytest.param("earliest_fit", marks=pytest.mark.slow)]
    )
    def test_prints_both_schedules_and_writes_files(self, run, tmp_path, discipline):
        files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "npz", "png")}
        targets = [
            *("--json", files["json"], "--csv", files["csv"]),
            *("--save", files["npz"], "--plot", files["png"]),
        ]
        code, out, err = run("improve", *SMALL, *self.FLAGS, "--discipline", discipline, *targets)
        assert (code, err) == (0, "")
        inst = backlog(1)
        options = {"num_steps": 60, "num_chains": 2, "discipline": discipline}
        better = js.improve(inst, "svf", key=jax.random.key(0), **options)
        kept = js.Schedule.load(files["npz"])
        np.testing.assert_array_equal(kept.start, better.schedule.start)
        before = js.simulate(inst, js.prioritize(inst, "svf"), discipline=discipline)
        schedules = {"smallest_volume": before, "improved": better.schedule}
        expected = js.compare(inst, schedules, "smallest_volume", "price")
        shown = [line.rstrip() for line in out.splitlines()]
        assert shown[: len(str(expected).splitlines())] == str(expected).splitlines()
        written = json.loads(files["json"].read_text())
        assert written["history"]["steps"] == [0, 60]
        assert written["history"]["mean_latency_rounds"][-1] == better.history[0, -1] / 20
        assert sorted(os.listdir(tmp_path)) == sorted(file.name for file in files.values())

    def test_draws_the_mean_of_several_instances(self, run, tmp_path):
        picture = tmp_path / "out.pdf"
        flags = ["--instances", 2, "--bound", "volume", "--plot", picture]
        code, out, _ = run("improve", *SMALL, *self.FLAGS, *flags)
        assert code == 0
        assert "volume bound" in out
        assert picture.stat().st_size > 0

    def test_bad_input_is_one_line(self, run):
        for arguments, message in (
            (["--steps", 0], "jaxsched: error: --steps is 0; expected an integer from 1"),
            (["--chains", 0], "jaxsched: error: --chains is 0; expected an integer from 1"),
            (["--bound", "prise"], "jaxsched: error: no bound is called 'prise'"),
            (["--policy", "fcfa"], "jaxsched: error: no rule is called 'fcfa'"),
        ):
            code, out, err = run("improve", *SMALL, *arguments)
            assert (code, out) == (2, "")
            assert err.startswith(message)
            assert err.count("\n") == 1
