"""Targets of output: files whole or not at all; devices, pipes and links keep what they are."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import jaxsched as js
from jaxsched._lib.writing import write_whole


def write(partial):
    partial.write_text("content")


def fail(partial):
    partial.write_text("half")
    raise ArithmeticError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("before")
    with pytest.raises(ArithmeticError):
        write_whole(path, fail)
    assert path.read_text() == "before"
    write_whole(path, write)
    assert path.read_text() == "content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_leads_to_the_file(tmp_path):
    (tmp_path / "far").mkdir()
    target, link, chain = tmp_path / "far" / "out.txt", tmp_path / "link", tmp_path / "chain"
    link.symlink_to(Path("far", "out.txt"))  # to nothing yet
    chain.symlink_to("link")
    for path in (link, chain):
        write_whole(path, write)
        assert link.is_symlink()
        assert chain.is_symlink()
        assert target.read_text() == "content"
        assert list(target.parent.iterdir()) == [target]
        target.unlink()


def test_a_device_stays_a_device():
    write_whole(Path("/dev/null"), write)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_gets_the_bytes(tmp_path, name):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_whole(tmp_path / name, write)
    reader.join(timeout=30)
    assert read == ["content"]
    assert pipe.is_fifo()


def test_an_open_descriptor_goes_on_where_it_is(tmp_path):
    path = tmp_path / "log"
    with path.open("w") as file:
        file.write("first\n")
        file.flush()
        write_whole(Path(f"/dev/fd/{file.fileno()}"), write)
    assert path.read_text() == "first\ncontent"


def test_nothing_is_written_to_a_stream_where_the_work_fails():
    read, written = os.pipe()
    with pytest.raises(ArithmeticError):
        write_whole(Path(f"/dev/fd/{written}"), fail)
    os.close(written)
    assert os.read(read, 10) == b""
    os.close(read)


@pytest.mark.parametrize("target", ["/dev/full", "folder", "none/out.txt", "loop"])
def test_errors_name_what_was_asked_for(tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / target
    with pytest.raises(OSError, match=r"\S") as caught:
        write_whole(path, write)
    assert caught.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ["folder", "loop"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_permissions_stay(tmp_path, mode):
    path, link = tmp_path / "out.json", tmp_path / "link.json"
    path.write_text("before")
    path.chmod(mode)
    link.symlink_to(path)
    seen = []

    def watched(partial):
        seen.append(partial.stat().st_mode & 0o777)
        partial.write_text("content")

    for target in (path, link):
        write_whole(target, watched)
        assert path.stat().st_mode & 0o777 == mode
    assert seen == [mode, mode]
    assert path.read_text() == "content"


INST = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
REQS = js.Requests.from_arrays([0.0, 1.0], [3, 1], [2, 4])
RULE = js.policies.LinearScore(np.ones(1, np.float32), ("log_volume",))
SAVED = {
    "instance": (INST.save, js.Instance.load),
    "requests": (REQS.save, js.Requests.load),
    "schedule": (js.Schedule.from_starts(INST, [0, 2]).save, js.Schedule.load),
    "rule": (
        lambda path: js.policies.save(RULE, path),
        js.policies.load,
    ),
}


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("kind", SAVED)
def test_what_is_saved_is_whole_or_not_there(tmp_path, monkeypatch, kind, suffix):
    if (kind, suffix) == ("schedule", ".json"):
        return
    save, load = SAVED[kind]
    full = tmp_path / f"full{suffix}"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        save(full)
    assert caught.value.filename == str(full)
    full.unlink()
    pipe, kept, read = tmp_path / f"pipe{suffix}", tmp_path / f"kept{suffix}", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    save(pipe)
    reader.join(timeout=30)
    kept.write_bytes(read[0])
    load(kept)

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.savez_compressed", broken)
    monkeypatch.setattr("pathlib.Path.write_text", broken)
    with pytest.raises(KeyboardInterrupt):
        save(kept)
    assert kept.read_bytes() == read[0]
    assert sorted(tmp_path.iterdir()) == [kept, pipe]


def test_what_the_library_writes_follows_links(tmp_path):
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    link, path = tmp_path / "link.json", tmp_path / "trace.json"
    path.write_text("")
    link.symlink_to(path)
    js.export.chrome_trace(inst, js.simulate(inst, [0, 1]), link)
    assert link.is_symlink()
    assert path.read_text().startswith("{")
