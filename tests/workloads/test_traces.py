"""Recorded request lengths: every public format, bad rows, samples, downloads."""

import functools
import gzip
import hashlib
import http.server
import sys
import threading
import warnings

import jax
import numpy as np
import pytest

from jaxsched import traces

KEY = jax.random.key(0)
AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-12 23:59:58.500000+00:00,2162,5
2024-05-12 23:59:59+00:00,2399,6
2024-05-13 00:00:00.001163+00:00,76,15
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
BURSTGPT_SESSIONS = """\
Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,one,43,GPT-4,906,446,1352,Conversation log
19440161.5,two,2,ChatGPT,36,29,65,Conversation log
"""
MOONCAKE = """\
{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 3052, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}
"""
VIDUR = """num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio
3772,54,3826,69.85185185185185
2015,156,2171,12.916666666666666
"""
VIDUR_WITH_ARRIVALS = """arrived_at,num_prefill_tokens,num_decode_tokens
0,4808,10
0.052,3180,8
"""
FORMATS = {
    "azure_2023": (AZURE_2023, [0, 4.314579, 4.541877], [374, 396, 879], [44, 109, 55]),
    "azure_2024": (AZURE_2024, [0, 0.5, 1.501163], [2162, 2399, 76], [5, 6, 15]),
    "burstgpt": (BURSTGPT, [5, 45, 118], [472, 1087, 417], [18, 0, 276]),
    "burstgpt_sessions": (BURSTGPT_SESSIONS, [19440110, 19440161.5], [906, 36], [446, 29]),
    "mooncake": (MOONCAKE, [0, 3.052], [6758, 7322], [500, 490]),
    "vidur": (VIDUR, None, [3772, 2015], [54, 156]),
    "vidur_with_arrivals": (VIDUR_WITH_ARRIVALS, [0, 0.052], [4808, 3180], [10, 8]),
}


def compressed(text):
    """Gzip without the time in its header, so that the bytes are always the same."""
    return gzip.compress(text.encode(), mtime=0)


def lengths(inst):
    return np.asarray(inst.prompt_tokens).tolist(), np.asarray(inst.output_tokens).tolist()


class TestRead:
    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize("is_compressed", [False, True])
    def test_reads_each_format_as_it_stands(self, write, name, is_compressed):
        text, arrived_at, prompt, output = FORMATS[name]
        trace = traces.read(write(compressed(text) if is_compressed else text))
        if arrived_at is None:
            assert trace.arrived_at is None
        else:
            assert trace.arrived_at.tolist() == arrived_at
            assert trace.arrived_at.dtype == np.float64
        assert trace.prompt_tokens.tolist() == prompt
        assert trace.output_tokens.tolist() == output
        assert trace.prompt_tokens.dtype == trace.output_tokens.dtype == np.int64
        first = 1 if name == "mooncake" else 2
        assert trace.line.tolist() == list(range(first, first + len(prompt)))

    @pytest.mark.parametrize(
        "text",
        [
            AZURE_2023.replace("\n", "\r\n").rstrip(),  # as the source has it
            "\ufeff" + AZURE_2023,
            '"TIMESTAMP", "ContextTokens",GeneratedTokens' + AZURE_2023[39:],
            AZURE_2023.replace("374", '"374"').replace("396", "396.0"),
        ],
        ids=["crlf", "byte order mark", "quoted header", "quoted and float numbers"],
    )
    def test_reads_other_spellings(self, write, text):
        expected = traces.read(write(AZURE_2023))
        for column, other in zip(expected, traces.read(write(text)), strict=True):
            np.testing.assert_array_equal(column, other)

    def test_blank_lines_hold_no_rows_but_count(self, write):
        assert traces.read(write("\n" + VIDUR + "\n7,8,15,1\n")).line.tolist() == [3, 4, 6]
        assert traces.read(write("\n" + MOONCAKE + "\n")).line.tolist() == [2, 3]

    def test_reads_a_long_file(self, write):
        trace = traces.read(write(VIDUR + "".join(f"{k},1,{k + 1},1.0\n" for k in range(100_000))))
        np.testing.assert_array_equal(trace.prompt_tokens[2:], np.arange(100_000))
        np.testing.assert_array_equal(trace.line, np.arange(2, 100_004))

    @pytest.mark.parametrize("text", ["", "a,b\n1,2\n", '{"a": 1}\n', "374 44\n"])
    def test_an_unknown_format_lists_columns_and_known_formats(self, write, text):
        path = write(text)
        found = {"": "none", "a": "'a', 'b'", "{": "'a'", "3": "'374 44'"}[text[:1]]
        with pytest.raises(ValueError, match="unknown trace format") as caught:
            traces.read(path)
        assert str(caught.value) == (
            f"{path}: unknown trace format; columns present: {found}; say which hold what: "
            "columns=prompt=..,output=..,arrival=..,unit=s; known formats: Azure LLM inference, "
            "BurstGPT, Mooncake, Qwen (Bailian), Vidur, LLMServingSim, SplitwiseSim, AIPerf, "
            "vLLM and SGLang benchmarks"
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                AZURE_2023.replace("396", "39.6"),
                "line 3: ContextTokens is '39.6'; expected a whole",
            ),
            (
                AZURE_2023.replace("396", "many"),
                "line 3: ContextTokens is 'many'; expected a whole",
            ),
            (AZURE_2023.replace("396", "-3"), "line 3: ContextTokens is '-3'; expected a whole"),
            (AZURE_2023.replace("396", "nan"), "line 3: ContextTokens is 'nan'; expected a whole"),
            (
                AZURE_2023.replace("396", "1e30"),
                "line 3: ContextTokens is '1e30'; expected a whole",
            ),
            (AZURE_2023.replace("396", ""), "line 3: ContextTokens is ''; expected a whole"),
            (AZURE_2023.replace(",396", ""), "line 3 has 2 fields; expected 3"),
            (AZURE_2023.replace("396", "396,7"), "line 3 has 4 fields; expected 3"),
            (AZURE_2023.replace("396", '"396'), "line 4 is not comma-separated: unexpected end"),
            (AZURE_2023.replace("2023-11-16 18:15:50", "noon"), "line 3: TIMESTAMP is 'noon.995"),
            (AZURE_2023.replace("2023-11-16 18:15:46", "noon"), "line 2: TIMESTAMP is 'noon.680"),
            (BURSTGPT.replace("45,", "inf,"), "line 3: Timestamp is 'inf'; expected a time"),
            (MOONCAKE.replace("490", '"x"'), "line 2: output_length is 'x'; expected a whole"),
            (MOONCAKE.replace("490", "null"), "line 2: output_length is missing; expected a whole"),
            (MOONCAKE.replace('"output_length": 490, ', ""), "line 2: output_length is missing"),
            (MOONCAKE.replace("490", "4" + 400 * "0"), "line 2: output_length is 4000"),
            (MOONCAKE + "[1, 2]\n", "line 3 is .1, 2.; expected a JSON object"),
            (MOONCAKE + "{1}\n", "line 3 is not JSON: "),
            (VIDUR.partition("\n")[0], "holds no requests; expected rows below the header"),
            (compressed(VIDUR)[:-9], "is not an intact gzip file: "),
            (b"\xff\xfe\x00", "is not utf-16-le text: truncated data"),
        ],
    )
    def test_a_bad_row_is_named_by_file_line_value_and_expectation(self, write, text, message):
        path = write(text)
        with pytest.raises(ValueError, match=f"^{path}: {message}"):
            traces.read(path)

    def test_a_missing_file_is_an_os_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            traces.read(tmp_path / "absent.csv")


class TestLoad:
    def test_takes_every_row_in_file_order(self, write, x64):
        inst = traces.load(write(AZURE_2023), 1000)
        assert lengths(inst) == ([374, 396, 879], [44, 109, 55])
        assert int(inst.kv_capacity) == 1000
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(inst)} == {"int32", "bool"}

    @pytest.mark.parametrize(
        ("text", "capacity", "message"),
        [
            (BURSTGPT, 2000, "line 3: the output has 0 tokens; expected at least 1; 1 of 3 rows"),
            (
                BURSTGPT.replace("1087,0", "0,9"),
                400,
                "line 2: prompt and output take 490 tokens; expected at most kv_capacity = 400; "
                "3 of 3 rows cannot run, drop_invalid=True leaves them out",
            ),
            (BURSTGPT.replace("1087,0", "0,9"), 2000, "line 3: the prompt has 0 tokens; expected"),
        ],
    )
    def test_a_row_that_cannot_run_is_an_error(self, write, text, capacity, message):
        path = write(text)
        with pytest.raises(ValueError, match=f"^{path}: {message}"):
            traces.load(path, capacity)

    def test_rows_that_cannot_run_are_dropped_and_counted_on_request(self, write):
        path = write(BURSTGPT)
        with pytest.warns(traces.TraceWarning) as caught:
            inst = traces.load(path, 600, drop_invalid=True)
        assert lengths(inst) == ([472], [18])
        assert str(caught[0].message) == (
            f"left out 2 of 3 rows, the first being {path}: line 3: the output has 0 tokens; "
            "expected at least 1"
        )
        assert caught[0].filename == __file__

    def test_nothing_is_said_when_nothing_is_dropped(self, write):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert lengths(traces.load(write(VIDUR), 4096, drop_invalid=True))[1] == [54, 156]

    def test_dropping_every_row_is_an_error(self, write):
        with pytest.raises(ValueError, match=r"line 2: .*; no row can run"):
            traces.load(write(BURSTGPT), 20, drop_invalid=True)

    def test_unreadable_rows_are_never_dropped(self, write):
        with pytest.raises(ValueError, match="line 3: Response tokens is 'x'"):
            traces.load(write(BURSTGPT.replace("1087,0", "1087,x")), 2000, drop_invalid=True)


class TestSample:
    @pytest.fixture
    def path(self, write):
        rows = "".join(f"{k},1\n" for k in range(1, 41))
        return write("num_prefill_tokens,num_decode_tokens\n" + rows)

    def test_samples_are_distinct_rows_in_file_order(self, path):
        inst = traces.load(path, 100, num_requests=10, batch=50, key=KEY)
        rows = np.asarray(inst.prompt_tokens)
        assert rows.shape == (50, 10)
        assert np.all(np.diff(rows, axis=-1) > 0)
        assert len(np.unique(rows, axis=0)) > 45

    def test_a_single_sample_has_no_leading_axis(self, path):
        inst = traces.load(path, 100, num_requests=10, key=KEY)
        assert inst.prompt_tokens.shape == (10,)
        assert inst.kv_capacity.shape == ()

    def test_equal_keys_give_equal_samples(self, path):
        draws = [
            lengths(traces.load(path, 100, num_requests=10, batch=3, key=key))
            for key in (KEY, KEY, jax.random.key(1), jax.random.PRNGKey(0))
        ]
        assert draws[0] == draws[1] == draws[3] != draws[2]

    def test_every_row_is_as_likely(self, path):
        inst = traces.load(path, 100, num_requests=10, batch=4000, key=KEY)
        share = np.bincount(np.asarray(inst.prompt_tokens).ravel(), minlength=41)[1:] / 4000
        np.testing.assert_allclose(share, 0.25, atol=4.5 * np.sqrt(0.25 * 0.75 / 4000))

    def test_all_rows_can_be_sampled_but_no_more(self, path):
        inst = traces.load(path, 100, num_requests=40, key=KEY)
        assert lengths(inst)[0] == list(range(1, 41))
        with pytest.raises(ValueError, match="num_requests is 41; expected 1 to 40"):
            traces.load(path, 100, num_requests=41, key=KEY)

    def test_dropped_rows_are_not_sampled(self, path):
        with pytest.warns(traces.TraceWarning, match="left out 20 of 40 rows"):
            inst = traces.load(path, 21, num_requests=20, key=KEY, drop_invalid=True)
        assert lengths(inst)[0] == list(range(1, 21))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_requests": 5}, "needs both num_requests and key"),
            ({"key": KEY}, "needs both num_requests and key"),
            ({"batch": 5}, "needs both num_requests and key"),
            ({"num_requests": 0, "key": KEY}, "num_requests is 0; expected an integer >= 1"),
            ({"num_requests": 2.0, "key": KEY}, "num_requests is 2.0; expected an integer >= 1"),
            ({"num_requests": 2, "batch": 10**12, "key": KEY}, "batch is 10+; expected at most 13"),
            ({"num_requests": 2, "batch": 0, "key": KEY}, "batch is 0; expected an integer >= 1"),
        ],
    )
    def test_arguments_go_together(self, path, arguments, message):
        with pytest.raises(ValueError, match=message):
            traces.load(path, 100, **arguments)

    @pytest.mark.parametrize("bad", ["8", 0, -1, 2.5, True, None, 2**31])
    def test_a_capacity_that_is_no_count(self, path, bad):
        with pytest.raises(ValueError, match=r"^kv_capacity is .*; expected an integer from 1 to"):
            traces.load(path, bad)


class TestRealFiles:
    @pytest.mark.parametrize(
        ("name", "rows", "capacity"),
        [
            ("arxiv_summarization", 28257, 4096),
            ("azure2023_code", 8819, 16492),
            ("azure2023_conv", 19366, 16492),
            ("mooncake_conversation", 12031, 524288),
        ],
    )
    def test_load_whole(self, data_dir, name, rows, capacity):
        inst = traces.load(data_dir / f"{name}.csv.gz", capacity)
        assert inst.prompt_tokens.shape == (rows,)
        trace = traces.read(data_dir / f"{name}.csv.gz")
        assert (trace.arrived_at is None) == (name == "arxiv_summarization")
        assert trace.arrived_at is None or np.all(np.diff(trace.arrived_at) >= 0)

    def test_the_articles_have_the_stated_moments(self, data_dir):
        trace = traces.read(data_dir / "arxiv_summarization.csv.gz")
        assert trace.prompt_tokens.mean() == pytest.approx(2588, abs=0.5)
        assert trace.output_tokens.mean() == pytest.approx(291, abs=0.5)
        correlation = np.corrcoef(trace.prompt_tokens, trace.output_tokens)[0, 1]
        assert correlation == pytest.approx(-0.46, abs=0.005)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A source on the loopback address; gives the paths that were asked for."""
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "conv.csv").write_text(AZURE_2023)
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/conv.csv"
        digest = hashlib.sha256(AZURE_2023.encode()).hexdigest()
        sources = {
            "good": traces.Source(url, digest, "none"),
            "changed": traces.Source(url, "0" * 64, "none"),
            "gone": traces.Source(url.replace("conv", "absent"), digest, "none"),
        }
        for name, source in sources.items():
            monkeypatch.setitem(traces.SOURCES, name, source)
        yield asked
        server.shutdown()
        thread.join()


class TestDownload:
    def test_fetches_once_and_reads(self, server, tmp_path):
        path = traces.download("good", cache_dir=tmp_path / "cache")
        assert traces.read(path).prompt_tokens.tolist() == [374, 396, 879]
        assert path.parent == tmp_path / "cache"
        assert len(server) == 1
        assert traces.download("good", cache_dir=tmp_path / "cache") == path
        assert len(server) == 1

    def test_a_damaged_copy_is_fetched_again(self, server, tmp_path):
        path = traces.download("good", tmp_path)
        path.write_text("damaged")
        assert traces.download("good", tmp_path).read_text() == AZURE_2023
        assert len(server) == 2

    def test_a_wrong_checksum_is_an_error_and_leaves_no_file(self, server, tmp_path):
        with pytest.raises(ValueError, match=r"hash of downloaded file .* does not match"):
            traces.download("changed", tmp_path / "cache")
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]

    def test_an_absent_file_is_an_os_error(self, server, tmp_path):
        with pytest.raises(OSError, match="404"):
            traces.download("gone", tmp_path)

    def test_an_unknown_name_is_answered_with_the_nearest(self):
        with pytest.raises(ValueError, match="'azure2023_con'; did you mean 'azure2023_conv'"):
            traces.download("azure2023_con")

    def test_without_pooch_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pooch", None)
        with pytest.raises(ImportError, match=r'pip install "jaxsched\[traces\]"'):
            traces.download("azure2023_conv")

    def test_known_sources_are_pinned(self):
        assert set(traces.SOURCES) == {
            "arxiv_summarization",
            "azure2023_code",
            "azure2023_conv",
            "mooncake_conversation",
        }
        for source in traces.SOURCES.values():
            assert len(bytes.fromhex(source.sha256)) == 32
            assert source.url.startswith("https://raw.githubusercontent.com/")
            assert any(len(part) == 40 for part in source.url.split("/"))  # a commit, no branch
            assert source.licence
