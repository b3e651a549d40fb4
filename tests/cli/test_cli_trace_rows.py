"""Options that say which rows and columns of a trace file count."""

import pytest

TEXT = "t;isl;osl\n0;7;3\n2500;8;4\n5000;9;5\n"
COLUMNS = ["--columns", "prompt=isl,output=osl,arrival=t,unit=ms"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(TEXT)
    return path


def test_columns_of_any_name_and_a_part(run, path):
    code, out, _ = run("trace", path, *COLUMNS)
    assert code == 0
    assert "log.csv: 3 requests over 5 s" in out
    assert "log.csv: 2 requests over 2 s" in run("trace", path, *COLUMNS, "--from", "1")[1]
    assert "log.csv: 1 request over 0 s" in run("trace", path, *COLUMNS, "--until", "2.5s")[1]


def test_commands_that_run_requests_take_the_same(run, path):
    code, out, _ = run("simulate", "--trace", path, *COLUMNS, "--from", "1")
    assert code == 0
    assert "1 instance of 2 requests" in out
    for command in ("serve", "compare", "rate"):
        flags = ["--server", "llama3.1_8b_h100"] if command in ("serve", "rate") else []
        code, out, err = run(command, "--trace", path, *COLUMNS, *flags, "--from", "9")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "log.csv: none of its rows is in the part asked for" in err


def test_lengths_are_described_where_only_times_are_bad(run, path):
    code, out, _ = run("trace", path, "--columns", "prompt=isl,output=osl,arrival=t")
    assert code == 0
    assert "log.csv: 3 requests\n" in out
    assert "times of arrival cannot be used" in out
    assert "give its unit: --columns unit=s" in " ".join(out.split())


def test_the_option_is_named_in_errors(run, path):
    code, _, err = run("trace", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "say which hold what: --columns prompt=isl,output=osl" in err
    for flags in (["--columns", "prompt=ils,output=osl"], [*COLUMNS, "--from", "soon"]):
        code, _, err = run("trace", path, *flags)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith(f"jaxsched: error: {flags[-2]}")


def test_capacity_as_logs_print_it(run, path):
    for written in ("16,492", "17K"):
        assert run("trace", path, *COLUMNS, "--capacity", written)[0] == 0
    assert (
        run("compare", "--columns", "unit=s")[2].count("--columns is about rows of a --trace") == 1
    )
