"""Files that people have: other tools' formats, layouts, encodings, notations."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import jax
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxsched import traces

KEY = jax.random.key(0)
PLAIN = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,1024,10\n1.5,200,5\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
QWEN = '{"chat_id": %d, "timestamp": %s, "input_length": %d, "output_length": %d, "turn": 1}\n'
MOONCAKE = '{"timestamp": %s, "input_length": %s, "output_length": 3}\n'
BENCH = {"backend": "vllm", "input_lens": [100, 200], "output_lens": [50, 25], "itls": [[0.1], []]}
AIPERF = {
    "metadata": {"request_start_ns": 1758000000000000000},
    "metrics": {"input_sequence_length": {"value": 100}, "output_sequence_length": {"value": 50}},
    "error": None,
}
FAILED = {
    "metadata": {"request_start_ns": 1758000000500000001, "was_cancelled": True},
    "metrics": {"error_isl": {"value": 100, "unit": "tokens"}},
    "error": {"code": 499, "type": "RequestCancellationError", "message": "cancelled"},
}
# One line a run, as `bench_serving --output-file --output-details` appends them.
SGLANG = {
    "tag": None,
    "backend": "sglang",
    "dataset_name": "random",
    "request_rate": "inf",
    "max_concurrency": None,
    "duration": 3.5,
    "completed": 2,
    "total_input_tokens": 300,
    "total_output_tokens": 75,
    "total_output_tokens_retokenized": 74,
    "mean_ttft_ms": 150.0,
    "accept_length": None,
}
SGLANG_DETAILS = {
    "input_lens": [100, 200, 300],
    "output_lens": [50, 25, 0],
    "ttfts": [0.1, 0.2, 0.0],
    "itls": [[0.01], [0.01], []],
    "generated_texts": ["a", "b", ""],
    "errors": ["", "", "Traceback"],
}


def columns_of(trace):
    return [None if each is None else each.tolist() for each in trace[:3]]


@pytest.mark.parametrize(
    ("text", "arrived_at", "prompt", "output"),
    [
        (
            QWEN % (0, 0.0, 500, 100) + QWEN % (1, 61.25, 700, 50) + QWEN % (2, 7200.5, 300, 20),
            [0, 61.25, 7200.5],
            [500, 700, 300],
            [100, 50, 20],
        ),
        (
            '{"input_toks":10,"output_toks":70,"arrival_time_ns":46926808}\n'
            '{"input_toks":20,"output_toks":30,"arrival_time_ns":146926808}\n',
            [0.046926808, 0.146926808],
            [10, 20],
            [70, 30],
        ),
        (
            "input_toks\toutput_toks\tarrival_time_ns\n10\t70\t0\n20\t30\t100000000\n",
            [0, 0.1],
            [10, 20],
            [70, 30],
        ),
        (
            "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,"
            "token_size\n0,2,0,1,1,4096,32\n1,2,0,3,1,2048,8\n",
            [1, 3],
            [4096, 2048],
            [32, 8],
        ),
        (json.dumps(AIPERF) + "\n" + json.dumps(FAILED), [0, 0.500000001], [100, 0], [50, 0]),
        (json.dumps(BENCH), None, [100, 200], [50, 25]),
        (json.dumps(BENCH, indent=2), None, [100, 200], [50, 25]),
        (json.dumps(BENCH) + "\n" + json.dumps(BENCH), None, [100, 200] * 2, [50, 25] * 2),
        (json.dumps(BENCH | {"start_times": [7.5, 8]}), [7.5, 8], [100, 200], [50, 25]),
        (
            2 * (json.dumps(SGLANG | SGLANG_DETAILS) + "\n"),
            None,
            [100, 200, 300] * 2,
            [50, 25, 0] * 2,
        ),
    ],
    ids=[
        "qwen",
        "llmservingsim",
        "tsv",
        "splitwise",
        "aiperf",
        *["bench", "pretty", "two", "times", "sglang"],
    ],
)
def test_formats_of_other_tools(write, text, arrived_at, prompt, output):
    trace = traces.read(write(text))
    assert columns_of(trace) == [arrived_at, prompt, output]


def test_failed_requests_of_benchmarks_are_dropped_on_request(write):
    path = write(json.dumps(SGLANG | SGLANG_DETAILS))
    with pytest.raises(ValueError, match="entry 3: the output has 0 tokens"):
        traces.load(path, 1000)
    with pytest.warns(traces.TraceWarning, match="left out 1 of 3 rows"):
        reqs = traces.load_requests(path, rate=2.0, key=KEY, drop_invalid=True)
    assert reqs.output_tokens.tolist() == [50, 25]


def test_totals_of_benchmarks_name_the_option_that_keeps_lengths(write):
    with pytest.raises(ValueError, match=r"run it with --save-detailed \(vLLM\) or --output-det"):
        traces.read(write(json.dumps(SGLANG)))
    mixed = json.dumps(SGLANG | SGLANG_DETAILS) + "\n" + json.dumps(SGLANG)
    with pytest.raises(ValueError, match="line 2: input_lens is no list; expected a list"):
        traces.read(write(mixed))


def test_records_in_order_of_their_end_are_sorted_by_their_start(write):
    later = AIPERF | {"metadata": {"request_start_ns": AIPERF["metadata"]["request_start_ns"] - 1}}
    path = write(json.dumps(AIPERF) + "\n" + json.dumps(later))
    with pytest.raises(ValueError, match="sort=True orders rows by arrival"):
        traces.load_requests(path)
    np.testing.assert_array_equal(traces.load_requests(path, sort=True).arrival_s, [0, 1e-9])


def test_nested_names_of_other_records(write):
    path = write(json.dumps({"details": SGLANG_DETAILS, "usage": {"in": [1, 2], "out": [3, 4]}}))
    trace = traces.read(path, columns="prompt=usage.in,output=usage.out")
    assert columns_of(trace) == [None, [1, 2], [3, 4]]


ROWS = [[0.0, 1.5], [1024, 200], [10, 5]]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (PLAIN.replace(",", ";"), [2, 3]),
        (PLAIN.replace(",", "\t"), [2, 3]),
        (PLAIN.replace(",", "|"), [2, 3]),
        (PLAIN.replace("\n", "\r\n"), [2, 3]),
        (PLAIN.replace("\n", "\r"), [2, 3]),
        ("# a comment\n\n" + PLAIN, [4, 5]),
        (PLAIN.replace("\n1.5", "\n   \n1.5"), [2, 4]),
        (PLAIN.replace("\n1.5", "\n#0.5,7,7\n1.5"), [2, 4]),
        (PLAIN.replace("\n1.5", "\n# a comment\n1.5") + "\n,,\n".replace(",", ""), [2, 4]),
        (PLAIN.upper(), [2, 3]),
        (PLAIN.replace("num_prefill_tokens", "Num Prefill-Tokens"), [2, 3]),
        (PLAIN.replace("1024", '"1,024"'), [2, 3]),
        (PLAIN.replace("200", "0.2K"), [2, 3]),
        (PLAIN.encode("utf-16"), [2, 3]),
        (PLAIN.encode("utf-16-be"), [2, 3]),
        (PLAIN.encode("utf-16-le"), [2, 3]),
        (PLAIN.encode("utf-32"), [2, 3]),
        (PLAIN.encode("utf-8-sig"), [2, 3]),
        ("# " + PLAIN, [2, 3]),
        ("# a comment\n#" + PLAIN, [3, 4]),
        ("sep=;\n" + PLAIN.replace(",", ";"), [3, 4]),
        ("sep=,\n" + PLAIN, [3, 4]),
    ],
)
def test_what_spreadsheets_and_shells_make_of_a_file(write, text, lines):
    trace = traces.read(write(text))
    assert columns_of(trace) == ROWS
    assert trace.line.tolist() == lines


@pytest.mark.parametrize(
    ("cell", "tokens"),
    [
        ("2,042,016", 2042016),
        ("284K", 284000),
        ("1.5k", 1500),
        ("2M", 2000000),
        (" 12.0 ", 12),
        ("1e3", 1000),
    ],
)
def test_numbers_as_logs_print_them(write, cell, tokens):
    for text in (
        f'num_prefill_tokens,num_decode_tokens\n"{cell}",1\n',
        f"num_prefill_tokens\tnum_decode_tokens\n{cell}\t1\n",
        json.dumps({"num_prefill_tokens": cell, "num_decode_tokens": 1}),
    ):
        assert traces.read(write(text)).prompt_tokens.tolist() == [tokens]


@pytest.mark.parametrize("cell", ["1,2", "2,042,01", "1.2345K", "K", "0x10", "-1K"])
def test_what_is_no_count_is_named(write, cell):
    path = write(f"num_prefill_tokens;num_decode_tokens\n{cell};1\n")
    with pytest.raises(ValueError, match="line 2: num_prefill_tokens is '"):
        traces.read(path)


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("trace.csv", content)
    return file.getvalue()


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zipped, zstd],
    ids=["gzip", "bzip2", "xz", "zip", "zstd"],
)
def test_compressions_are_told_by_content(write, compress):
    content = compress(PLAIN.encode())
    path = write(content)
    assert columns_of(traces.read(path)) == ROWS
    with pytest.raises(ValueError, match=rf"^{path}: is not an intact \w+ file"):
        traces.read(write(content[: len(content) // 2]))


def test_parquet(tmp_path):
    path = tmp_path / "trace"
    at = np.array(["2024-05-10T00:00:00", "2024-05-10T00:00:01.5"], "datetime64[ns]")
    table = {"TIMESTAMP": at, "ContextTokens": [1024, 200], "GeneratedTokens": [10, 5]}
    parquet.write_table(pa.table(table), path)
    assert columns_of(traces.read(path)) == ROWS
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not an intact Parquet file"):
        traces.read(path)


def test_times_in_parquet_that_no_calendar_has(tmp_path):
    path = tmp_path / "trace"
    at = pa.array([0, 2**62], pa.timestamp("us"))
    table = {"TIMESTAMP": at, "ContextTokens": [1024, 200], "GeneratedTokens": [10, 5]}
    parquet.write_table(pa.table(table), path)
    assert traces.load(path, 2000).output_tokens.tolist() == [10, 5]
    with pytest.raises(ValueError, match="row 2: TIMESTAMP is '4611686018427387904 us since 1970'"):
        traces.read(path)


def test_a_parquet_file_that_holds_far_more_than_its_size(tmp_path):
    path = tmp_path / "trace"
    ones = pa.array(np.ones(10**7, np.int8))
    parquet.write_table(pa.table({"prompt_size": ones, "token_size": ones}), path)
    assert path.stat().st_size < 10**6
    with pytest.raises(ValueError, match="expands to 80000000 bytes, over 67108864; write it anew"):
        traces.read(path)


@pytest.mark.parametrize("indent", [None, 1])
def test_json_arrays(write, indent):
    names = PLAIN.partition("\n")[0].split(",")
    records = [dict(zip(names, row, strict=True)) for row in zip(*ROWS, strict=True)]
    trace = traces.read(write(json.dumps(records, indent=indent)))
    assert columns_of(trace) == ROWS
    assert trace.line.tolist() == [1, 2]


@pytest.mark.parametrize("indent", [None, 1])
def test_records_inside_an_object(write, indent):
    rows = [{"input_length": 10, "output_length": 3}, {"input_length": 20, "output_length": 4}]
    for name in ("data", "requests"):
        path = write(json.dumps({"by": "me", "n": 2} | {name: rows, "to": 1}, indent=indent))
        assert columns_of(traces.read(path)) == [None, [10, 20], [3, 4]]
    for name in ("messages", "data"):  # lists inside records
        chats = [{name: [{"role": "user"}]} | row for row in rows]
        path = write("".join(json.dumps(row) + "\n" for row in chats))
        assert traces.read(path).prompt_tokens.tolist() == [10, 20]


@pytest.mark.parametrize("shift", range(0, 12, 3))
def test_brackets_in_texts_are_no_depth(write, shift):
    texts = ["x" * shift, *['[{"\\' * k for k in range(150)]]
    path = write(json.dumps({"generated_texts": texts} | BENCH, indent=1))
    assert traces.read(path).prompt_tokens.tolist() == [100, 200]


def test_outputs_that_add_up_to_too_many_rounds_name_the_file(write):
    path = write("prompt_size,token_size\n" + 3 * f"1,{2**30}\n")
    with pytest.raises(ValueError, match=rf"^{path}: output_tokens .* sum to 3221225472.* until="):
        traces.load(path, 2**31 - 1)
    inst = traces.load(path, 2**31 - 1, until=1)
    assert inst.output_tokens.tolist() == [2**30]


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (MOONCAKE % (0, "true"), "line 1: input_length is True; expected a whole number"),
            (MOONCAKE % ("true", 1), "line 1: timestamp is True; expected a"),
            (
                MOONCAKE % (0, 1) + MOONCAKE.replace("3}", "false}") % (0, 1),
                "line 2: output_length is False; expected a whole number",
            ),
            (MOONCAKE % (0, "[" * 100_000 + "]" * 100_000), "nested too deeply"),
            ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
            ("[" * 3_000_000, "nested too deeply"),
            (
                json.dumps(BENCH | {"output_lens": [1]}),
                "output_lens has 1 entries; expected a list",
            ),
            ("[1, 2]", "record 1 is 1; expected a JSON object"),
            (json.dumps({"input_lens": [], "output_lens": []}), "holds no requests$"),
            (PLAIN.replace(",", " "), "is separated by spaces; expected commas"),
            (
                PLAIN.replace("\n", "\nüé,1,1\n", 1).encode("latin-1"),
                "line 2: the byte 0xfc is not UTF-8; save the file as UTF-8, such as by iconv",
            ),
            ('{"a": 1,\n "b": }', "record 1 is not JSON"),
            ('{"a": "' + "x" * 2**23 + '"}', "a text or number of more than 4194304"),
            ("\n" * 2**21, "has no header in its first 1048576 lines"),
            ("a," * 2**18, "has 262145 columns; expected at most 131072"),
            (MOONCAKE % (-1e308, 1) + MOONCAKE % (1e308, 1), "line 1: timestamp is -1e"),
            (gzip.compress((b"#" * 2**20 + b"\n") * 65), "expands to more than"),
        ],
    )
    def test_are_clear_and_short(self, write, text, message):
        with pytest.raises(ValueError, match=message) as caught:
            traces.read(write(text))
        assert len(str(caught.value)) < 1000

    def test_a_pipe(self):
        with pytest.raises(ValueError, match="is a pipe or a device"):
            traces.read("/dev/zero")

    def test_an_archive_of_several(self, tmp_path):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", PLAIN)
            archive.writestr("b", PLAIN)
        with pytest.raises(ValueError, match=r"is an archive of 2 files \('a', 'b'\)"):
            traces.read(path)
