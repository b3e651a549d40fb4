"""JSON and TOML: what does not fit a schema is one bounded line that names file and field."""

import os

import pytest

from jaxsched._lib.documents import FLOATS, NUMBER, PLAIN, TEXT, Fields, Rows, read_json, read_toml

SCHEMA = Fields({"name": TEXT, "counts": Rows(NUMBER)}, optional={"more": Fields(others=FLOATS)})
GOOD = '{"name": "a", "counts": [1, 2.5]%s}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept.json"


def refused(path, content, schema=SCHEMA, read=read_json):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"\S") as caught:
        read(path, schema)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 600 + len(str(path))
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON: Expecting value"),
        ("[1]", "the content is [1]; expected a table of named values"),
        ("{}", "lacks 'name'; expected name, counts"),
        ('{"name": true, "counts": []}', "name is True; expected text"),
        ('{"name": "a", "counts": 3}', "counts is 3; expected a list"),
        ('{"name": "a", "counts": [1, "2"]}', "counts[1] is '2'; expected a finite number"),
        ('{"name": "a", "counts": [true]}', "counts[0] is True; expected a finite number"),
        ('{"name": "a", "counts": [1e999]}', "counts[0] is inf; expected a finite number"),
        ('{"name": "a", "counts": [NaN]}', "counts[0] is nan; expected a finite number"),
        ('{"name": "a", "counts": [1%s]}' % ("0" * 400), "counts[0] is 10000"),
        ('{"name": "a", "counts": [1%s]}' % ("0" * 9999), "is not JSON: Exceeds the limit"),
        (GOOD % ', "other": 1', "other is no field; expected only name, counts, more"),
        (GOOD % ', "name": "b"', "is not JSON: 'name' stands there twice"),
        (GOOD % ', "more": {"w": [[[1]]]}', "more.w is [[[1]]]; expected finite numbers of 32"),
        (GOOD % ', "more": {"w": [1e39]}', "more.w is [1e+39]; expected finite numbers of 32"),
        (GOOD % ', "more": {"w\\n": 1, "w": "1"}', "more.w is '1'; expected finite numbers"),
        (GOOD % ', "more": {"\\n\\ud800": "1"}', r"more.'\n\ud800' is '1'; expected finite"),
        ("[" * 100_000, "is not JSON: it is nested too deeply"),
        ('{"a":' * 100_000, "is not JSON: it is nested too deeply"),
        ('{"%s": 1}' % ("x" * 10**6), "lacks 'name'"),
        (GOOD % (', "%s": 1' % ("x" * 10**6)), "xxx is no field; expected only name"),
        (b'{"name": "\xff"}', "is not JSON: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_wrong_is_named(path, content, message):
    assert message in refused(path, content)


def test_a_table_that_is_nested_is_bounded(path):
    content = '{"a":' + "[" * 30 + "]" * 30 + "}"
    assert "expected at most 8 levels" in refused(path, content, Fields(others=PLAIN))


def test_files_that_end_never_or_late(path, tmp_path):
    assert "bytes, more than any file of its kind" in refused(path, " " * (2**26 + 1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="is a pipe or a device"):
        read_json(pipe, SCHEMA)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json", SCHEMA)
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path, SCHEMA)


def test_what_editors_add_is_no_error(path):
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace(" ", "\r\n").replace("%s", "").encode())
    assert read_json(path, SCHEMA) == {"name": "a", "counts": [1, 2.5]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name = ", "is not TOML: Invalid value"),
        ("name = 1979-05-27", "name is datetime.date(1979, 5, 27); expected text"),
        ("name = " + "[" * 100_000, "is not TOML: it is nested too deeply"),
        ("#" * 2**21, "bytes, more than any file of its kind"),
        ("name = {a = 1}", "name is {'a': 1}; expected text"),
    ],
)
def test_toml(path, content, message):
    assert message in refused(path, content, Fields({"name": TEXT}), read_toml)
