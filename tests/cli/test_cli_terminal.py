"""What a user sees on terminals of 60 and 80 columns, and on those without Unicode."""

import os
import subprocess
import sys

import pytest

import jaxsched as js
from tests.conftest import ROOT

SMALL = ["--workload", "chat", "--requests", "20", "--instances", "3"]
RULES = "fcfs,aged_shortest_first,length_weighted,receding_horizon,geometric"


@pytest.fixture(params=[60, pytest.param(80, marks=pytest.mark.slow)])
def columns(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def words(text):
    return set(text.replace(",", " ").split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", *SMALL, "--policies", RULES],
        ["compare", *SMALL, "--policies", RULES, "--server", "llama3_8b_a100", "--deadline-s", "9"],
        pytest.param(
            ["capacity", *SMALL, "--policies", RULES, "--target", "mean=300"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_names_of_rules_are_whole(run, columns, arguments):
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert set(RULES.split(",")) <= words(out)
    assert all(len(line.rstrip()) <= columns for line in out.splitlines()[2:])


def test_every_registered_rule_is_listed_whole(run, columns):
    _, out, _ = run("policies")
    assert set(js.policies.names()) <= words(out)
    assert {"mc_sf", "svf", "gba"} <= words(out)
    assert "…" not in out


def test_every_server_is_listed_whole(run, columns):
    _, out, _ = run("servers")
    assert set(js.servers.names()) <= words(out)
    assert {"384,000", "22%", "[1]"} <= {*out.split()}
    assert js.servers.info("llama3.1_8b_h100").source[:20] in out


def process(*arguments, **environment):
    command = [sys.executable, "-m", "jaxsched", *arguments]
    clean = {name: value for name, value in os.environ.items() if name[:3] != "LC_"}
    return subprocess.run(
        command, cwd=ROOT, env={**clean, **environment}, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0"}, marks=pytest.mark.slow),
    ],
    ids=["C", "ascii", "C without UTF-8 mode"],
)
def test_ascii_where_there_is_no_unicode(environment):
    done = process("compare", *SMALL, "--policies", "fcfs,svf", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"+-" in done.stdout
    assert b"\\x" not in done.stdout


def test_ascii_help_and_errors():
    assert process("compare", "-h", LC_ALL="C").stdout.isascii()
    done = process("compare", "--trace", "\u00e9.csv", LC_ALL="C")
    assert done.returncode == 2
    assert done.stderr.isascii()
    assert done.stderr.count(b"\n") == 1


def test_unicode_where_python_is_told_so():
    done = process("compare", *SMALL, "--policies", "fcfs", LC_ALL="C", PYTHONIOENCODING="utf-8")
    assert "±" in done.stdout.decode()


class TestUnits:
    def test_columns_of_a_table_with_a_clock_say_which_unit(self, run):
        _, out, _ = run("compare", *SMALL, "--policies", "fcfs,svf", "--server", "llama3_8b_a100")
        header = out.partition("\nfcfs")[0]
        assert header.count("(s)") == 3
        assert header.count("(rounds)") == 2

    def test_without_a_clock_all_are_rounds(self, run):
        _, out, _ = run("compare", *SMALL, "--policies", "fcfs,svf")
        assert "times in rounds" in out
        assert "(s)" not in out

    def test_one_of_each_is_singular(self, run, tmp_path):
        path = tmp_path / "one.csv"
        path.write_text("num_prefill_tokens,num_decode_tokens\n3,2\n")
        _, out, _ = run("compare", "--trace", path, "--policies", "svf", "--capacity", "5")
        assert out.startswith("1 instance of 1 request, 5 KV tokens; times in rounds")
        assert "1 request\n" in run("trace", path)[1]


class TestCapacityOfAServer:
    SERVER = "llama2_70b_2xa100"
    SAID = "KV capacity 53,248 tokens, from llama2_70b_2xa100; --capacity N sets another"

    @pytest.mark.parametrize("command", ["compare", "simulate", "bound"])
    def test_is_used_where_none_is_given_and_said(self, run, command):
        code, out, _ = run(command, *SMALL, "--server", self.SERVER)
        assert code == 0
        assert out.splitlines()[0] == self.SAID
        assert "53248 KV tokens" in out

    def test_gives_way_to_one_that_is_given(self, run):
        _, out, _ = run("simulate", *SMALL, "--server", self.SERVER, "--capacity", 5000)
        assert self.SAID not in out
        assert "5000 KV tokens" in out

    def test_is_said_beside_json(self, run):
        _, out, err = run("simulate", *SMALL, "--server", self.SERVER, "--json", "-")
        assert out.startswith("{")
        assert self.SAID in err

    def test_is_not_said_where_it_is_looked_for(self, run):
        flags = ["--target", "mean=99", "--server", self.SERVER, "--policies", "svf"]
        code, out, _ = run("capacity", *SMALL, *flags)
        assert code == 0
        assert "--capacity N" not in out

    def test_describes_a_trace(self, run, tmp_path):
        path = tmp_path / "trace.csv"
        path.write_text("num_prefill_tokens,num_decode_tokens\n60000,2\n10,4\n")
        code, out, _ = run("trace", path, "--capacity", "server", "--server", self.SERVER)
        assert code == 0
        assert "1 request of more than 53248 tokens" in out
        code, _, err = run("trace", path, "--capacity", "server")
        assert code == 2
        assert "--capacity server needs --server" in err


class TestArrivalTimes:
    def test_of_a_trace_are_not_used_and_that_is_said(self, run, tmp_path):
        path = tmp_path / "trace.csv"
        path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,3,2\n1.5,1,4\n")
        _, out, _ = run("compare", "--trace", path, "--policies", "svf")
        assert out.splitlines()[0].endswith(
            "trace.csv: arrival times are not used: all requests wait from the start"
        )
        path.write_text("num_prefill_tokens,num_decode_tokens\n3,2\n1,4\n")
        _, out, _ = run("compare", "--trace", path, "--policies", "svf")
        assert "arrival" not in out


class TestErrors:
    def test_are_bounded(self, run):
        code, out, err = run("compare", "--polic" + "y" * 5000, "x")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert len(err) < 700
        code, _, err = run("compare", *SMALL, "--policies", "y" * 5000)
        assert code == 2
        assert len(err) < 700

    def test_of_any_kind_are_one_line(self, run, monkeypatch):
        def broken(inst):
            raise RuntimeError("out of\nluck")

        js.policies.register("broken", js.policies.host_rule(broken))
        code, out, err = run("compare", *SMALL, "--policies", "broken")
        assert (code, out) == (2, "")
        assert "error: RuntimeError: out of luck (set JAXSCHED_TRACEBACK=1 to see where)\n" in err
        assert err.count("\n") == 1
        monkeypatch.setenv("JAXSCHED_TRACEBACK", "1")
        with pytest.raises(RuntimeError):
            run("compare", *SMALL, "--policies", "broken")

    def test_of_a_rule_that_lacks_options_are_one_line(self, run):
        js.policies.register("needy", factory=lambda weight: js.policies.fcfs)
        code, _, err = run("compare", *SMALL, "--policies", "needy")
        assert code == 2
        assert "needs the option" in err
        assert err.count("\n") == 1
