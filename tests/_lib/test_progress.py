"""Pauses for compiling are announced on a terminal, and nowhere else."""

import sys

import jax
import jax.numpy as jnp
import pytest

from jaxsched._lib.progress import compiling_line, progress_bar


@pytest.fixture
def stderr(monkeypatch, capsys):
    """Make stderr a terminal or not; gives what was written there."""

    def read(is_terminal):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
        return lambda: capsys.readouterr().err

    return read


def compile_anew():
    jax.jit(lambda x: x + 1)(jnp.zeros(3))


def test_a_line_is_shown_while_jax_compiles_and_is_gone_afterwards(stderr):
    read = stderr(True)
    with compiling_line():
        compile_anew()
    shown = read()
    assert "compiling ..." in shown
    assert shown.endswith("\r" + len("compiling ...") * " " + "\r")
    compile_anew()
    assert read() == ""


def test_a_bar_speaks_for_itself(stderr):
    read = stderr(True)
    with compiling_line(), progress_bar(1, "steps", True):
        read()
        compile_anew()
        assert "compiling ..." not in read()


def test_nothing_is_shown_where_nobody_looks(stderr):
    read = stderr(False)
    with compiling_line():
        compile_anew()
    assert read() == ""


def test_the_line_is_gone_after_an_error(stderr):
    read = stderr(True)
    with pytest.raises(RuntimeError), compiling_line():
        raise RuntimeError
    assert read().endswith("\r")
