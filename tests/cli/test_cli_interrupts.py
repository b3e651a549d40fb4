"""Interrupts of the command line: quiet, at once, and no half files."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

import jaxsched as js
from tests.conftest import ROOT

SMALL = ["--workload", "chat", "--requests", "20", "--instances", "3"]


class TestInterrupts:
    @pytest.fixture(autouse=True)
    def _handler(self):
        """Take interrupts as Python does by default: background jobs start with them ignored."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    def register(self, interrupt):
        @js.policies.host_rule
        def interrupted(inst):
            interrupt()
            return inst.output_tokens

        js.policies.register("interrupted", interrupted)

    def test_exit_with_130_and_write_nothing(self, run, tmp_path):
        def interrupt():
            raise KeyboardInterrupt

        self.register(interrupt)
        target = tmp_path / "out.json"
        result = run("compare", *SMALL, "--policies", "interrupted", "--json", target)
        assert result == (130, "", "")
        assert not list(tmp_path.iterdir())

    def test_are_not_lost_where_python_drops_them(self, run):
        def in_a_callback(phase, info):
            gc.callbacks.remove(in_a_callback)
            raise KeyboardInterrupt

        def interrupt():
            gc.callbacks.append(in_a_callback)
            gc.collect()
            for _ in range(1000):  # until cut short
                time.sleep(0.01)

        self.register(interrupt)
        assert run("compare", *SMALL, "--policies", "interrupted")[0] == 130

    def test_while_loading_end_it_without_a_traceback(self, tmp_path):
        (tmp_path / "jax.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
        done = subprocess.run(
            [sys.executable, "-c", "from jaxsched.cli import script; script()", "policies"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")

    def test_while_writing_leave_the_old_file(self, run, tmp_path, monkeypatch):
        from matplotlib.figure import Figure

        def interrupted(figure, path, **_):
            path.write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(Figure, "savefig", interrupted)
        target = tmp_path / "out.png"
        target.write_text("before")
        assert run("compare", *SMALL, "--policies", "svf", "--plot", target)[0] == 130
        assert target.read_text() == "before"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_closed_pipe_ends_it_quietly(self):
        """As in ``jaxsched policies | head -1``, where the reader leaves first."""
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "jaxsched", "--help"]
        done = subprocess.run(
            command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (1, "")
