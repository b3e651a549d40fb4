"""Instances and requests as CSV and JSON: every bit comes back, and errors name the line."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import jaxsched as js

RANDOM = np.random.default_rng(5)
STREAM = js.Requests.from_arrays(
    np.sort(RANDOM.exponential(1e3, 4)),
    [3, 1, 2, 2**31 - 9],
    [2, 4, 3, 1],
    predicted_output_tokens=RANDOM.exponential(30, 4),
    priority=[2**53 + 1, -1, 0, 7],
    client=[0, 1, 0, 2],
    ttft_slo_s=0.1,
    tpot_slo_s=[0.05, np.inf, 1e-30, 1 / 3],
)
FLOATS = js.Requests.from_arrays([0.0, 0.1], [1, 1], [1, 1], priority=np.float32([0.1, -np.inf]))
ONE = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
BATCH = js.stack([js.Instance.from_lengths([5], [1], kv_capacity=9), ONE])
SHORTER = js.Requests.from_arrays(
    [0.5],
    [9],
    [1],
    **{
        name: np.asarray(getattr(STREAM, name))[:1]
        for name in ("predicted_output_tokens", "priority")
    },
    client=[3],
    ttft_slo_s=0.2,
    tpot_slo_s=np.inf,
)
KEPT = {
    "instance": ONE,
    "padded": BATCH,
    "uniform": js.workloads.uniform(jax.random.key(0), batch=3),
    "stream": STREAM,
    "floats": FLOATS,
    "streams": js.stack([SHORTER, STREAM]),
    "all_padded": BATCH.replace(
        prompt_tokens=np.int32([[5, 1], [1, 1]]),
        output_tokens=np.int32([[1, 1], [1, 1]]),
        is_real=np.array([[True, False], [False, False]]),
    ),
    "padding_first": ONE.replace(
        prompt_tokens=np.int32([1, 3]),
        output_tokens=np.int32([1, 2]),
        is_real=np.array([False, True]),
    ),
}


def fields(value):
    return {
        field.name: np.asarray(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if getattr(value, field.name) is not None
    }


def assert_same(value, loaded):
    expected, found = fields(value), fields(loaded)
    assert list(found) == list(expected)
    for name, array in expected.items():
        if name != "priority":  # whose own width is not kept, but whose values are
            assert found[name].dtype == array.dtype, name
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("suffix", [".csv", ".json", ".JSON", ".npz"])
@pytest.mark.parametrize("name", KEPT)
def test_every_bit_comes_back(tmp_path, name, suffix):
    value, path = KEPT[name], tmp_path / f"kept{suffix}"
    value.save(path)
    assert_same(value, type(value).load(path))


def test_json_takes_any_leading_axes_and_csv_one(tmp_path):
    deep = jax.tree.map(lambda leaf: np.asarray(leaf)[None], BATCH)
    deep.save(tmp_path / "deep.json")
    assert_same(deep, js.Instance.load(tmp_path / "deep.json"))
    with pytest.raises(ValueError, match=r"leading axes \(1, 2\); expected one at most; save to"):
        deep.save(tmp_path / "deep.csv")
    assert not (tmp_path / "deep.csv").exists()


def test_csv_is_what_a_spreadsheet_expects(tmp_path):
    BATCH.save(tmp_path / "batch.csv")
    assert (tmp_path / "batch.csv").read_text() == (
        "instance,prompt_tokens,output_tokens,kv_capacity\n0,5,1,9\n1,3,2,8\n1,1,4,8\n"
    )
    STREAM.save(tmp_path / "stream.csv")
    header, first, *_ = (tmp_path / "stream.csv").read_text().split("\n")
    assert header.startswith("arrival_s,prompt_tokens,output_tokens,predicted_output_tokens,")
    assert first.endswith("9007199254740993,0,0.1,0.05")


def test_json_has_a_line_a_field(tmp_path):
    ONE.save(tmp_path / "one.json")
    assert (tmp_path / "one.json").read_text().split("\n") == [
        "{",
        '  "jaxsched_kind": "Instance",',
        '  "prompt_tokens": [3, 1],',
        '  "output_tokens": [2, 4],',
        '  "is_real": [true, true],',
        '  "kv_capacity": 8',
        "}",
        "",
    ]


def test_files_made_by_hand_are_taken(tmp_path):
    path = tmp_path / "hand.csv"
    path.write_bytes(
        b"\xef\xbb\xbfkv_capacity, output_tokens ,prompt_tokens\r\n8,2,3\r\n\r\n8, 4 ,1\r\n"
    )
    assert_same(ONE, js.Instance.load(path))
    path = tmp_path / "hand.json"
    path.write_text('{"prompt_tokens": [3, 1], "output_tokens": [2, 4],\n"kv_capacity": 8}')
    assert_same(ONE, js.Instance.load(path))


HEADER = "prompt_tokens,output_tokens,kv_capacity\n"
BAD_INSTANCES = [
    (".csv", "", "line 1: lacks the column 'prompt_tokens' of Instance"),
    (".csv", HEADER, "holds no requests; expected a row"),
    (".csv", HEADER + "3,2,8\n\n1,4.5,8\n", "line 4: output_tokens is '4.5'; expected an integer"),
    (".csv", HEADER + "3,2,8\n1_0,4,8\n", "line 3: prompt_tokens is '1_0'; expected an integer"),
    (".csv", HEADER + "3,2,8\n0,4,8\n", r"line 3: prompt_tokens\[1\] is 0; expected an integer >="),
    (".csv", HEADER + "3,2,8\n5,4,8\n", "line 3: request 1 needs 9 tokens at its end but"),
    (".csv", HEADER + "3,2,8\n1,4,9\n", "line 3: kv_capacity is 9; expected 8, as in the rows"),
    (".csv", HEADER + "3,2\n", "line 2 has 2 fields; expected 3"),
    (".csv", HEADER + '3,2,"8\n', "is no CSV"),
    (".csv", HEADER.replace("output", "ouput"), "line 1: .*'ouput_tokens'; did you mean 'output_"),
    (".csv", HEADER.replace("output", "prompt"), "line 1: the column prompt_tokens is there twice"),
    (".csv", f"instance,{HEADER}1,3,2,8\n", "line 2: instance is 1; expected 0, since the rows"),
    (".csv", f"instance,{HEADER}0,3,2,8\n2,1,1,8\n", "line 3: instance is 2; expected 0 or 1"),
    (".csv", HEADER + f"{10**30},2,8\n", "prompt_tokens is 10+; expected an integer of 64 bits"),
    (".json", "[1, 2", "is not JSON: .*line 1"),
    (".json", "[" * 100_000, "is not JSON"),
    (".json", "3", "is 3; expected a JSON object"),
    (".json", '{"jaxsched_kind": "Requests"}', "holds 'Requests', expected Instance"),
    (".json", '{"prompt_tokens": [1],\n"prompts": 2}', "line 2: Instance has no field 'prompts'"),
    (".json", '{"kv_capacity": 1,\n"kv_capacity": 2}', "is not JSON: .*stands there twice"),
    (".json", '{"prompt_tokens": [1]}', "lacks the field 'output_tokens' of Instance"),
    (".json", '{\n"prompt_tokens": [1, true]}', r"line 2: prompt_tokens\[1\] is True; expected an"),
    (".json", '{\n"prompt_tokens": [[1], [2, 3]]}', r"line 2: prompt_tokens\[1\] is ragged"),
    (
        ".json",
        '{"prompt_tokens": [1, 1],\n"output_tokens": [2, 0],\n"kv_capacity": 8}',
        r"line 2: output_tokens\[1\] is 0; expected an integer >= 1",
    ),
]


@pytest.mark.parametrize(("suffix", "text", "message"), BAD_INSTANCES)
def test_errors_name_the_file_and_the_line(tmp_path, suffix, text, message):
    path = tmp_path / f"bad{suffix}"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        js.Instance.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 400


def test_errors_of_streams_name_the_line_of_the_request(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("stream,arrival_s,prompt_tokens,output_tokens\n0,1,1,1\n1,2,1,1\n1,1.5,1,1\n")
    with pytest.raises(
        ValueError, match=r"bad.csv: line 4: arrival_s\[1, 1\] is 1.5; expected asc"
    ):
        js.Requests.load(path)
    path.write_bytes(b"arrival_s,prompt_tokens,output_tokens\n0,1,1\n\xff,1,1\n")
    with pytest.raises(ValueError, match=r"bad.csv: line 3: the byte 0xff is not UTF-8; save the"):
        js.Requests.load(path)
    path = tmp_path / "bad.json"
    path.write_bytes(b'{"arrival_s": [0],\n"\xe9": 1}')
    with pytest.raises(ValueError, match=r"bad.json: line 2: the byte 0xe9 is not UTF-8"):
        js.Requests.load(path)


def test_counts_beyond_64_bits_are_shown_as_they_are(tmp_path):
    beyond = np.array([1, 2**64 - 1], np.uint64)
    with pytest.raises(ValueError, match=r"prompt_tokens\[1\] is 18446744073709551615; expected"):
        js.Instance.from_lengths(beyond, [1, 1], kv_capacity=9)
    with pytest.raises(ValueError, match=r"client\[1\] is 18446744073709551615; expected an int"):
        js.Requests.from_arrays([0.0, 1.0], [1, 1], [1, 1], client=beyond)
    path = tmp_path / "large.npz"
    ONE.save(path)
    with np.load(path) as file:
        members = dict(file)
    np.savez(tmp_path / "larger.npz", **(members | {"prompt_tokens": beyond}))
    with pytest.raises(ValueError, match=r"prompt_tokens\[1\] is 18446744073709551615; expected"):
        js.Instance.load(tmp_path / "larger.npz")


def damaged(text):
    for place, what in itertools.product(
        range(0, len(text), 3), ("", '"', ",", "9", "-", "\n", "[")
    ):
        yield text[:place] + what + text[place + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_damage_is_one_error_that_names_the_file(tmp_path, suffix):
    path = tmp_path / f"kept{suffix}"
    SHORTER.save(path)
    for text in damaged(path.read_text()):
        path.write_text(text)
        message = ""
        try:
            js.Requests.load(path)
        except ValueError as error:
            message = str(error)
        assert not message or message.startswith(f"{path}: ")
