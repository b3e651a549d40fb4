"""A manifest says which code ran."""

import subprocess

import pytest

from jaxsched._lib import manifest as module
from jaxsched._lib.manifest import manifest


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of one file, in place of the one that the package runs from."""

    def git(*arguments):
        names = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("1\n")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(module, "_CHECKOUT", tmp_path)
    return tmp_path


def test_a_clean_checkout(checkout):
    about = manifest("command", 3)
    assert len(about["commit"]) == 40
    assert about["dirty"] is False
    assert (about["command"], about["seed"]) == ("command", 3)


def test_changed_code_is_dirty(checkout):
    (checkout / "code.py").write_text("2\n")
    assert manifest("command", 0)["dirty"] is True


def test_new_results_are_not(checkout):
    results = checkout / "experiments" / "results"
    results.mkdir(parents=True)
    (results / "demo.csv").write_text("rule\n")
    assert manifest("command", 0)["dirty"] is False


def test_without_a_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHECKOUT", tmp_path)
    about = manifest("command", 0)
    assert about["commit"] == about["dirty"] == "unknown"


def test_without_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    about = manifest("command", 0)
    assert about["commit"] == about["dirty"] == "unknown"
