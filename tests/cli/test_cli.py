"""The command line, as a user meets it: what it prints, writes and refuses."""

import csv
import gzip
import json
import math
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxsched as js

SMALL = ["--workload", "chat", "--requests", "20", "--instances", "3"]
VIDUR = "num_prefill_tokens,num_decode_tokens\n3,2\n1,4\n5,1\n2,2\n"
MOONCAKE = "".join(
    f'{{"timestamp": {at}, "input_length": {s}, "output_length": {o}}}\n'
    for at, s, o in [(0, 3, 2), (500, 1, 4), (2500, 5, 1), (4000, 2, 2)]
)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(VIDUR)
    return path


def process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jaxsched", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class TestCompare:
    def test_prints_the_table_of_the_library(self, run):
        code, out, err = run("compare", *SMALL, "--seed", 5, "--policies", "fcfs,svf,total_size")
        inst = js.workloads.chat(jax.random.key(5), 20, batch=3)
        expected = str(js.compare(inst, ["fcfs", "svf", "total_size"], baseline="fcfs"))
        assert code == 0
        assert [line.rstrip() for line in out.splitlines()] == expected.splitlines()
        assert err == ""

    def test_compares_the_index_rules_with_fcfs_by_default(self, run):
        _, out, _ = run("compare", *SMALL)
        rows = [line.split()[0] for line in out.splitlines() if "±" in line]
        assert rows[:5] == list(js.policies.names())[:5]
        assert "vs fcfs" in out

    def test_writes_json_csv_and_a_picture(self, run, tmp_path):
        files = [tmp_path / name for name in ("out.json", "out.csv", "out.png")]
        flags = ["--json", files[0], "--csv", files[1], "--plot", files[2]]
        code, out, _ = run("compare", *SMALL, "--policies", "fcfs,svf", *flags)
        assert code == 0
        for file in files:
            assert f"saved to {file}\n" in out
        assert sorted(os.listdir(tmp_path)) == sorted(file.name for file in files)

        inst = js.workloads.chat(jax.random.key(0), 20, batch=3)
        found = js.compare(inst, ["fcfs", "svf"], baseline="fcfs")
        written = json.loads(files[0].read_text())
        manifest = written.pop("manifest")
        assert written == found.to_dict()
        assert manifest["command"].startswith("jaxsched compare --workload chat --requests 20 ")
        assert manifest["seed"] == 0
        assert manifest["versions"]["jax"] == jax.__version__
        assert manifest["device"]["platform"] == jax.devices()[0].platform
        with files[1].open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["rule"] for row in rows] == [record["rule"] for record in found.records()]
        for field in ("mean", "low", "difference", "change_high"):
            assert [row[field] for row in rows] == [
                "" if math.isnan(record[field]) else str(record[field])
                for record in found.records()
            ]
        assert files[2].read_bytes().startswith(b"\x89PNG")

    def test_json_can_go_to_stdout(self, run):
        code, out, err = run("compare", *SMALL, "--policies", "svf", "--json", "-")
        assert code == 0
        assert json.loads(out)["num_instances"] == 3
        assert "smallest" not in out
        assert "mean" in err

    def test_seeds_are_reproducible(self, run):
        first, again, other = (
            json.loads(run("compare", *SMALL, "--seed", seed, "--json", "-")[1])["rules"]
            for seed in (0, 0, 1)
        )
        assert first == again != other

    def test_options_reach_the_library(self, run):
        _, out, _ = run(
            *("compare", "--workload", "mixed", "--requests", 20, "--instances", 3),
            *("--server", "llama2_70b_2xa100", "--capacity", "server", "--deadline-s", 5),
            *("--discipline", "earliest_fit", "--admission", "peak", "--max-num-seqs", 4),
            *("--policies", "svf,total_size", "--baseline", "total_size", "--bound", "none"),
            *("--json", "-"),
        )
        capacity = js.clock.PRESET_KV_CAPACITY["llama2_70b_2xa100"]
        found = js.compare(
            js.workloads.mixed(jax.random.key(0), 20, batch=3, kv_capacity=capacity),
            ["svf", "total_size"],
            baseline="total_size",
            bound=None,
            clock=js.clock.PRESETS["llama2_70b_2xa100"],
            discipline="earliest_fit",
            admission="peak",
            max_num_seqs=4,
            deadline_s=5.0,
        )
        written = json.loads(out)
        assert written.pop("manifest")
        assert written == found.to_dict()

    def test_draws_uniform_instances(self, run):
        _, out, _ = run("compare", "--workload", "uniform", "--instances", 6, "--policies", "svf")
        inst = js.workloads.uniform(jax.random.key(0), batch=6)
        assert out.splitlines()[0].strip() == str(js.compare(inst, ["svf"])).splitlines()[0]

    @pytest.mark.parametrize("content", [VIDUR, MOONCAKE])
    @pytest.mark.parametrize("is_compressed", [False, True])
    def test_reads_traces(self, run, tmp_path, content, is_compressed):
        path = tmp_path / "lengths"
        path.write_bytes(gzip.compress(content.encode()) if is_compressed else content.encode())
        _, out, _ = run("compare", "--trace", path, "--capacity", 8, "--json", "-")
        written = json.loads(out)["rules"]
        inst = js.traces.load(path, 8)
        assert written == js.compare(inst, list(written), baseline="fcfs").to_dict()["rules"]

    def test_samples_traces(self, run, trace):
        flags = ["--trace", trace, "--capacity", 8, "--requests", 2, "--instances", 5]
        _, out, _ = run("compare", *flags, "--seed", 3, "--policies", "svf", "--json", "-")
        inst = js.traces.load(trace, 8, num_requests=2, batch=5, key=jax.random.key(3))
        assert json.loads(out)["rules"] == js.compare(inst, ["svf"]).to_dict()["rules"]

    @pytest.mark.filterwarnings("default")
    def test_drops_rows_that_cannot_run_if_told_to(self, run, trace):
        flags = ["compare", "--trace", trace, "--capacity", 5, "--policies", "svf"]
        code, _, err = run(*flags)
        assert code == 2
        assert "--drop-invalid leaves them out" in err
        code, out, err = run(*flags, "--drop-invalid")
        assert code == 0
        assert err.startswith("jaxsched: warning: left out 1 of 4 rows")
        assert err.count("\n") == 1
        assert out.startswith("1 instance of 3 requests")


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("compare --policies fcfs,smalest_volume", "did you mean 'smallest_volume' or"),
            ("compare --policies fcfs,fcfs", "--policies names 'fcfs' twice"),
            ("compare --policies ,", "no rules"),
            ("compare --baseline svf", "baseline 'svf' is not among the rules"),
            ("compare --bound volum", "did you mean 'volume'?"),
            ("compare --workload mixd", "did you mean 'mixed'?"),
            ("compare --server h100", "did you mean 'llama2_70b_4xh100' or"),
            ("compare --polices svf", "No such option: --polices"),
            ("compar", "Did you mean 'compare'? See jaxsched --help."),
            ("compare --json", "requires an argument. See jaxsched --help."),
            ("tune", "Missing argument 'RULE.json'. See jaxsched tune --help."),
            ("tune rule.txt", "RULE rule.txt: expected a file name that ends in .json or .npz"),
            ("tune nowhere/rule.json", "RULE nowhere/rule.json: there is no folder nowhere"),
            ("tune rule.json --objective p98", "did you mean 'p99'?"),
            ("tune rule.json --features log_promt", "did you mean 'log_prompt' or"),
            ("bound --bounds ,", "--bounds names none; expected some of volume,mean_busy,price"),
            ("bound --bounds prise", "did you mean 'price'?"),
            ("compare --requests many", "--requests"),
            ("compare --requests 0", "--requests is 0"),
            ("compare --instances 0", "--instances is 0"),
            ("compare --requests 100000 --instances 100000", "for the sake of memory"),
            ("compare --seed -1", "--seed is -1"),
            ("compare --capacity big", "--capacity is 'big'"),
            ("compare --capacity 100", "--capacity is 100; expected at least 4096"),
            ("compare --capacity server", "--capacity server needs --server"),
            ("compare --deadline-s 5", "--deadline-s needs --server"),
            ("compare --max-num-seqs 0", "--max-num-seqs is 0"),
            ("compare --admission all", "--admission is 'all'"),
            ("compare --discipline lax", "--discipline is 'lax'"),
            ("compare --workload uniform --requests 5", "draws its own --requests"),
            ("compare --drop-invalid", "--trace"),
            ("compare --workload chat --trace x.csv", "exclude each other"),
            ("compare --trace nowhere.csv", "nowhere.csv: No such file"),
            ("compare --trace .", ".: Is a directory"),
            ("compare --plot picture.docx", "ends in .eps"),
            ("compare --json nowhere/out.json", "there is no folder nowhere"),
            ("compare --csv .", "is a folder"),
            ("simulate --policy first", "no rule is called 'first'"),
            ("trace --download azure2023_con", "did you mean 'azure2023_conv' or"),
            ("trace a.csv --download azure2023_conv", "not both"),
        ],
    )
    def test_are_one_line_and_exit_code_2(self, run, arguments, message, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        code, out, err = run(*arguments.split())
        assert code == 2
        assert out == ""
        assert err.startswith("jaxsched: error: ")
        assert message in err
        assert err.count("\n") == 1

    def test_name_the_line_of_a_bad_file(self, run, tmp_path):
        path = tmp_path / "bad.csv"
        path.write_text(VIDUR + "3,-1\n")
        code, _, err = run("compare", "--trace", path)
        assert code == 2
        assert "bad.csv: line 6: num_decode_tokens is '-1'" in err

    def test_name_the_rule_and_instance_of_a_nan(self, run):
        js.policies.register("undefined", lambda inst: inst.volume * float("nan"))
        code, _, err = run("compare", *SMALL, "--policies", "undefined")
        assert code == 2
        assert "rule 'undefined' in instance 0" in err

    @pytest.mark.parametrize(
        ("module", "arguments", "extra"),
        [
            ("matplotlib", ["compare", *SMALL, "--plot", "a.png"], "plot"),
            ("pooch", ["trace", "--download", "azure2023_conv"], "traces"),
        ],
    )
    def test_name_a_missing_extra(self, run, monkeypatch, module, arguments, extra):
        monkeypatch.setitem(sys.modules, module, None)
        code, _, err = run(*arguments)
        assert code == 2
        assert f'pip install "jaxsched[{extra}]"' in err


class TestSimulate:
    def test_prints_metrics_and_saves_the_schedule(self, run, tmp_path):
        target = tmp_path / "schedule.npz"
        code, out, _ = run("simulate", *SMALL, "--policy", "total_size", "--save", target)
        assert code == 0
        assert out.startswith("total_size: 3 instances of 20 requests")
        inst = js.workloads.chat(jax.random.key(0), 20, batch=3)
        sched = js.simulate(inst, js.prioritize(inst, "total_size"))
        np.testing.assert_array_equal(js.Schedule.load(target).start, sched.start)
        shown = [line.split()[0] for line in out.splitlines() if "_" in line]
        assert shown[1:-1] == list(js.metrics.summary(inst, sched))

    def test_writes_the_metrics_as_json(self, run):
        flags = ["--server", "llama3_8b_a100", "--deadline-s", 1, "--json", "-"]
        _, out, _ = run("simulate", *SMALL, *flags)
        inst = js.workloads.chat(jax.random.key(0), 20, batch=3)
        sched = js.simulate(inst, js.prioritize(inst, "smallest_volume"))
        clock = js.clock.PRESETS["llama3_8b_a100"]
        written = json.loads(out)["rules"]["smallest_volume"]
        assert {name: estimate["mean"] for name, estimate in written.items()} == {
            name: pytest.approx(values.mean())
            for name, values in js.metrics.summary(inst, sched, clock, 1.0).items()
        }


class TestCatalogue:
    def test_policies_lists_every_rule_with_its_source(self, run):
        code, out, _ = run("policies")
        assert code == 0
        rows, name = {}, ""
        for line in out.splitlines():
            name = line.split("  ")[0] if line[:1].strip() else name
            rows[name] = rows.get(name, "") + line
        assert {name.partition(",")[0] for name in rows} >= set(js.policies.names())
        assert "arXiv:2502.07115" in rows["shortest_output, mc_sf"]
        assert ":math:" not in out

    def test_workloads_lists_what_compare_takes(self, run):
        code, out, _ = run("workloads")
        assert code == 0
        rows = [line.split()[0] for line in out.splitlines() if line[:1].strip()]
        assert rows[2:] == ["chat", "mixed", "summarization", "uniform"]

    def test_trace_describes_a_file(self, run, trace, tmp_path):
        code, out, _ = run("trace", trace, "--capacity", 5)
        assert code == 0
        assert "trace.csv: 4 requests\n" in out
        rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
        assert rows["prompt"][1:] == ["3", "1", "1", "2", "4", "5", "5"]
        assert rows["prompt + output"][-1] == "6"
        assert "needs --capacity 6" in out
        assert "1 request of more than 5 tokens" in out
        mooncake = tmp_path / "trace.jsonl"
        mooncake.write_text(MOONCAKE)
        assert "trace.jsonl: 4 requests over 4 s\n" in run("trace", mooncake)[1]

    def test_trace_lists_and_fetches_public_traces(self, run, trace, monkeypatch):
        _, out, _ = run("trace")
        assert all(name in out for name in js.traces.SOURCES)
        asked = []
        monkeypatch.setattr("jaxsched.traces.download", lambda name: asked.append(name) or trace)
        code, out, _ = run("trace", "--download", "azure2023_code")
        assert (code, asked) == (0, ["azure2023_code"])
        assert f"azure2023_code is {trace}" in out
        assert "4 requests" in out


class TestHelp:
    def test_fits_a_screen(self, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        code, out, _ = run()
        assert code == 0
        assert out == run("--help")[1]
        listed = out.partition("Commands")[2]
        commands = re.findall(r"^│ (\w+)", listed, re.MULTILINE)
        assert {"compare", "improve", "sweep", "trace"} <= set(commands)
        for command in commands:
            code, out, _ = run(command, "--help")
            assert code == 0
            assert len(out.splitlines()) <= 40, command

    def test_an_option_of_another_command_is_said(self, run):
        code, _, err = run("compare", "--rate", "3")
        assert code == 2
        assert "No such option: --rate" in err
        assert "jaxsched serve, jaxsched rate and jaxsched tune have it." in err
        assert "have it" not in run("compare", "--nowhere")[2]

    def test_version(self, run):
        code, out, _ = run("--version")
        assert code == 0
        assert out.split()[0] == "jaxsched"


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    where = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    arguments = ["compare", "--workload", "uniform", "--instances", "2", "--policies", "svf"]
    outputs, compiled = [], []
    for _ in range(2):
        done = process(*arguments, **where)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        outputs.append(done.stdout)
        compiled.append({path.name for path in tmp_path.rglob("*-cache")})
    assert compiled[0]
    assert compiled[1] == compiled[0]
    assert outputs[0] == outputs[1]
