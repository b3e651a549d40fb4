"""Files of arrays: damage, bombs and foreign members are one clear error that names the file."""

import io
import os
import resource
import struct
import zipfile

import numpy as np
import pytest

import jaxsched as js
from jaxsched._lib.npz import ANY, load_arrays, save_arrays

INST = js.Instance.from_lengths([3, 1, 5], [2, 4, 1], kv_capacity=8)
SCHED = js.Schedule.from_starts(INST, [0, 2, 9])
FIELDS = ("prompt_tokens", "output_tokens", "is_real", "kv_capacity")


def arrays_of(value, fields=FIELDS):
    return {name: np.asarray(getattr(value, name)) for name in fields}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept.npz"


def refused(load, path, match):
    with pytest.raises(ValueError, match=match) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("kept", [0, 1, 30, 200, -1, -30])
def test_cut_short(path, kept):
    INST.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    refused(js.Instance.load, path, "not an npz file written by jaxsched, or a damaged one")


@pytest.mark.parametrize("content", [b"", b"\x00" * 500, b"PK\x03\x04" + b"\x00" * 100])
def test_no_archive(path, content):
    path.write_bytes(content)
    refused(js.Instance.load, path, "not an npz file written by jaxsched")


def test_an_npy_file(path):
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    refused(js.Schedule.load, path, "not an npz file written by jaxsched")


def test_every_byte_counts_or_does_not_matter(path):
    INST.save(path)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        message, loaded = "", None
        try:
            loaded = js.Instance.load(path)
        except ValueError as error:
            message = str(error)
        assert message.startswith(f"{path}: ") or loaded.prompt_tokens.tolist() == [3, 1, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"secret": np.zeros(3)}, "holds the member 'secret', which Instance does not have"),
        ({"is_real": np.ones(3, np.int32)}, "is_real has dtype int32; expected truth values"),
        ({"is_real": np.array([1, 0, 1], bool)}, r"output_tokens\[1\] is 4; expected 1 where"),
        ({"prompt_tokens": np.array(["3", "1", "5"])}, "has dtype <U1; expected integers"),
        ({"prompt_tokens": np.array([3, 1, 5 + 0j])}, "has dtype complex128; expected integers"),
        ({"prompt_tokens": np.array([3, 0, 5])}, r"prompt_tokens\[1\] is 0; expected an integer"),
        ({"kv_capacity": np.array([8, 8])}, "kv_capacity has shape"),
        ({"output_tokens": np.zeros((3, 0), int)}, "output_tokens has shape"),
    ],
)
def test_other_members_dtypes_and_values(path, changes, message):
    save_arrays(path, "Instance", arrays_of(INST) | changes)
    refused(js.Instance.load, path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": np.array([0, 0])}, "status has shape"),
        ({"status": np.array(7)}, "status is 7; expected a js.Status"),
        ({"start": np.array([0.0, 2.0, 9.0])}, "start has dtype float64; expected integers"),
        ({"start": np.array([0, 2])}, "completion has shape"),
        ({"start": np.array([0, -2, 9])}, r"start\[1\] is -2; expected a round"),
        ({"start": np.array([0, 2, 2**40])}, r"start\[2\] is 1099511627776"),
        ({"completion": np.array([2, 2, 10])}, r"completion\[1\] is 2; expected a round after"),
        ({"status": np.array(1)}, r"start\[0\] is 0; expected a round, or -1"),
    ],
)
def test_what_is_no_schedule(path, changes, message):
    fields = ("start", "completion", "status")
    save_arrays(path, "Schedule", arrays_of(SCHED, fields) | changes)
    refused(js.Schedule.load, path, message)


def test_other_requests(path):
    reqs = js.Requests.from_arrays([0.0, 0.5], [300, 20], [40, 100], client=[0, 1])
    fields = ("arrival_s", "prompt_tokens", "output_tokens", "is_real", "client")
    save_arrays(path, "Requests", arrays_of(reqs, fields) | {"client": np.array([0.5, 1.0])})
    refused(js.Requests.load, path, "client has dtype float64; expected integers")
    reqs.save(path)
    assert js.Requests.load(path).client.tolist() == [0, 1]


def with_member(path, content, name="prompt_tokens"):
    """Put other bytes in the place of a member."""
    INST.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    members[f"{name}.npy"] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, data in members.items():
            archive.writestr(each, data)


def npy(header, data=b""):
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (10000000000000,), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (-3,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (3L,), }",
        "{'descr': " + "(" * 5000,
        "{'descr': '<i4',",
        "\xff\xfe",
        "3",
    ],
)
def test_headers_that_lie(path, header):
    with_member(path, npy(header, b"\x00" * 12))
    before = peak_mb()
    refused(js.Instance.load, path, "not an npz file|has dtype")
    assert peak_mb() - before < 50


def test_a_bomb_is_refused_before_it_is_read(path):
    """A member of 4 GB that takes 4 MB."""
    header = npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1073741824,), }")
    INST.save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", header + bytes(2**20))
    content = path.read_bytes()  # its size in the directory says 4 GB
    small = struct.pack("<I", len(header) + 2**20)
    path.write_bytes(content.replace(small, struct.pack("<I", 2**32 - 2)))
    before = peak_mb()
    refused(js.Instance.load, path, "expands to .* bytes, which is over")
    assert peak_mb() - before < 50


def test_what_is_written_can_be_read_however_alike_it_is(path):
    zeros = np.zeros(2**28 // 8 + 1)
    save_arrays(path, "Kind", {"zeros": zeros})
    assert load_arrays(path, "Kind", {"zeros": ANY})["zeros"].shape == zeros.shape


def test_members_there_twice(path):
    INST.save(path)
    content = io.BytesIO()
    np.save(content, np.arange(3))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("prompt_tokens.npy", content.getvalue())
    refused(js.Instance.load, path, "a member is there twice")


def test_a_pipe_is_refused_at_once(path):
    os.mkfifo(path)
    refused(js.Instance.load, path, "is a pipe or a device")


def test_a_missing_file_stays_what_it_is(path):
    with pytest.raises(FileNotFoundError):
        js.Instance.load(path)
