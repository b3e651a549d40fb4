"""Pictures of the command line name what was run, where, and which way is better."""

import html
import re

import matplotlib
import pytest

SMALL = ["--requests", 20, "--instances", 2]


@pytest.fixture
def drawn(run, tmp_path):
    """Run a command with ``--plot`` and read the words in its picture."""

    def words(*arguments):
        path = tmp_path / "out.svg"
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            code, _, err = run(*arguments, "--plot", path)
        assert code == 0, err
        return [
            html.unescape(each) for each in re.findall(r"<text[^>]*>([^<]+)<", path.read_text())
        ]

    return words


def test_compare_names_the_workload_the_server_and_the_direction(drawn):
    server = "llama2_70b_2xa100"
    words = drawn("compare", *SMALL, "--policies", "fcfs,svf", "--server", server)
    assert f"workload mixed, server {server}" in words
    assert "mean latency (s), lower is better" in words
    assert any(each.startswith("2 instances of 20 requests") for each in words)


def test_compare_names_the_trace(drawn, tmp_path):
    trace = tmp_path / "week.csv"
    trace.write_text("num_prefill_tokens,num_decode_tokens\n3,2\n1,4\n5,1\n")
    words = drawn("compare", "--trace", trace, "--policies", "fcfs", "--capacity", 20)
    assert "trace week.csv" in words


def test_capacity_names_the_workload(drawn):
    words = drawn("capacity", *SMALL, "--workload", "chat", "--target", "mean=300")
    assert "workload chat" in words
    assert "mean latency (rounds), lower is better" in words


def test_improve_names_the_workload(drawn):
    words = drawn("improve", *SMALL, "--steps", 4, "--chains", 2, "--bound", "volume")
    assert "workload mixed, mean of 2 instances" in words
    assert "mean latency (rounds), lower is better" in words
