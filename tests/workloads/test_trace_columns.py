"""Which columns and which rows of a trace are taken."""

import numpy as np
import pytest

from jaxsched import traces
from tests.workloads.test_trace_formats import AZURE, KEY, MOONCAKE, PLAIN, columns_of


class TestColumns:
    TEXT = "t,isl,osl,n\n1500,7,3,1\n2500,8,4,2\n"

    @pytest.mark.parametrize(
        "columns",
        [
            "prompt=isl,output=osl,arrival=t,unit=ms",
            {"prompt": "isl", "output": "osl", "arrival": "t", "unit": "ms"},
        ],
    )
    def test_of_any_name(self, write, columns):
        path = write(self.TEXT)
        assert columns_of(traces.read(path, columns=columns)) == [[1.5, 2.5], [7, 8], [3, 4]]
        assert traces.has_arrival_times(path, columns)
        assert traces.load(path, 99, columns=columns).output_tokens.tolist() == [3, 4]
        assert traces.load_requests(path, columns=columns).arrival_s.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("text", "columns", "message"),
        [
            (TEXT, None, "columns=prompt=isl,output=osl,arrival=..,unit=s; known formats"),
            (TEXT, "prompt=ils,output=osl", "columns names 'ils', which is absent; did you mean"),
            (TEXT, "prompt=isl,output=osl,arrival=t", "line 2: t is '1500'; expected a date"),
            (TEXT, "prompt", "columns is 'prompt'; expected prompt=NAME"),
            (TEXT, "input=isl", "columns is 'input=isl'; expected prompt=NAME"),
            (TEXT, "prompt=isl,output=isl", "takes 'isl' both for prompt and for output; exp"),
            (
                TEXT,
                "prompt=isl,output=osl,arrival=isl,unit=s",
                "takes 'isl' both for prompt and for arrival",
            ),
            ("a b\n1 2\n", "prompt=a,output=b", "is separated by spaces; exp"),
            (TEXT, "unit=h", "unit of columns is 'h'; expected one of s, ms, us, ns"),
            (
                "prompt_size,token_size,prompt_size\n1,2,3\n",
                None,
                "column 'prompt_size' is there more than once, as columns 1 and 3",
            ),
            (
                "Timestamp,timestamp,prompt_size,token_size,arrival_timestamp,Arrival Timestamp\n",
                None,
                "'arrival_timestamp' and 'Arrival Timestamp' could both be the arrival; say which",
            ),
            (
                "prompt_size,token_size,input_length,output_length\n1,2,3,4\n",
                None,
                "those of Mooncake .*SplitwiseSim .*; say which: columns=prompt=",
            ),
            ('{"input_length": 1, "output_length": 2, "input_length": 3}', None, "there twice"),
            (
                MOONCAKE % (0, 1) * 200 + '{"input_length": 1, "input_length": 3}',
                *(None, "line 201 is not JSON: the name 'input_length' stands there twice"),
            ),
            (
                '[{"input_length": 1, "output_length": 2, "input_length": 3}]',
                *(None, "record 1 is unclear: the name 'input_length' stands there twice"),
            ),
        ],
    )
    def test_unclear_ones_are_named(self, write, text, columns, message):
        with pytest.raises(ValueError, match=message):
            traces.read(write(text), columns=columns)

    def test_errors_are_short(self, write):
        header = ",".join(f"column_{k}" for k in range(100_000))
        with pytest.raises(ValueError, match="and 99992 more") as caught:
            traces.read(write(header + "\n"))
        assert len(str(caught.value)) < 1000


class TestWindow:
    @pytest.fixture
    def path(self, write):
        rows = "".join(f"{1.5 * k},{k + 1},9\n" for k in range(20))
        return write(PLAIN.partition("\n")[0] + "\n" + rows)

    @pytest.mark.parametrize(
        ("since", "until", "prompts"),
        [
            (2, 5, [3, 4, 5]),
            ("2", "5", [3, 4, 5]),
            ("3s", "6s", [3, 4]),
            (None, "3000ms", [1, 2]),
            ("0.45m", None, [19, 20]),
        ],
    )
    def test_rows_or_times(self, path, since, until, prompts):
        part = {"since": since, "until": until}
        assert traces.read(path, **part).prompt_tokens.tolist() == prompts
        assert traces.load(path, 99, **part).prompt_tokens.tolist() == prompts
        reqs = traces.load_requests(path, **part, rate=2.0)
        assert reqs.prompt_tokens.tolist() == prompts
        np.testing.assert_allclose(np.asarray(reqs.arrival_s)[-1], (len(prompts) - 1) / 2.0)

    def test_dates(self, write):
        text = AZURE + "".join(f"2024-05-10 00:0{k}:00+00:00,{k + 1},5\n" for k in range(5))
        path = write(text)
        part = traces.read(path, since="2024-05-10T00:01", until="2024-05-10T00:03")
        assert part.prompt_tokens.tolist() == [2, 3]
        with pytest.raises(ValueError, match="the times are no dates"):
            traces.read(write(PLAIN), since="2024-05-10")

    @pytest.mark.parametrize("bad", [-1, 1.5, "soon", True])
    def test_others_are_refused(self, path, bad):
        with pytest.raises(ValueError, match=r"since is .*; expected a row, a time since"):
            traces.read(path, since=bad)
        with pytest.raises(ValueError, match="none of its rows is in the part asked for"):
            traces.read(path, since=99)

    @pytest.mark.parametrize("part", [{"until": 0}, {"since": 1, "until": 0}, {"until": "0s"}])
    def test_an_empty_part_is_not_an_empty_file(self, path, part):
        with pytest.raises(ValueError, match="none of its rows is in the part asked for"):
            traces.read(path, **part)

    def test_samples_stay_inside(self, path):
        inst = traces.load(path, 99, num_requests=3, batch=50, key=KEY, since=4, until=9)
        assert set(np.asarray(inst.prompt_tokens).ravel()) == {5, 6, 7, 8, 9}
