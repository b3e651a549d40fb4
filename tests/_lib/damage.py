"""Damage to files, and what a reader may make of it: a result, or one clear error."""

import contextlib
import re
import resource
import signal

MOST_SECONDS, MOST_MB, LONGEST_MESSAGE = 20, 200, 700

# What stands for nothing, for too much or for something else where a number is expected.
ODD = [b"nan", b"inf", b"-1", b"-0", b"1e999", b"1e18", b"1e-320", b"true", b"null", b"[", b"[[["]
ODD += [b"{", b"]", b"}", b"{}", b"[]", b'"', b'""', b"\\", b"\\ud800", b"\x00", b"\r", b"\n", b","]
ODD += [b";", b"\t", b"#", b" ", b"\xff", b"\xef\xbb\xbf", b"2,042", b"284K", b"2024-05-10", b"9"]
ODD += [b"9" * 400, b"9" * 5000, b"12345678901234567890", b"0001-01-01T00:00:00"]
ODD += [b"9999-12-31 23:59:59+14:00", b"-1e308", b"1e308"]
WORD = re.compile(rb'[^,;\t\n":{}\[\] ]+')


def any_of(rng, choices):
    return choices[int(rng.integers(len(choices)))]


def mutated(rng, data, others):
    """Data with a word replaced, or with one or two other changes anywhere."""
    words = [match.span() for match in WORD.finditer(data)]
    if words and rng.random() < 0.5:
        (begin, end), (other_begin, other_end) = any_of(rng, words), any_of(rng, words)
        word = any_of(rng, ODD) if rng.random() < 0.7 else data[other_begin:other_end]
        return data[:begin] + word + data[end:]
    data = bytearray(data)
    for _ in range(int(rng.geometric(0.75))):
        at = int(rng.integers(len(data) + 1))
        span = slice(at, at + int(rng.geometric(0.1)))
        match int(rng.choice(7, p=[0.15, 0.15, 0.15, 0.1, 0.1, 0.3, 0.05])):
            case 0 if data:
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            case 1:
                del data[span]
            case 2:
                data[at:at] = data[span] * int(rng.integers(1, 4))
            case 3:
                data[span] = rng.bytes(len(data[span]))
            case 4:
                del data[at:]
            case 5:
                data[span] = any_of(rng, ODD)
            case 6:
                other = any_of(rng, others)
                data[at:] = other[int(rng.integers(len(other) + 1)) :]
    return bytes(data)


class TooLong(BaseException):
    """No ``except Exception`` takes it."""


def _too_long(*_):
    raise TooLong


@contextlib.contextmanager
def bounded():
    """Allow each reader so many seconds of computing, and all of them so much more memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    handler = signal.signal(signal.SIGVTALRM, _too_long)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MOST_MB * 1024


def read_or_refuse(path, content, read):
    """Read a file; whether that went well. An error names it, in one line of bounded length."""
    path.write_bytes(content)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        result = read(path)
    except ValueError as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < LONGEST_MESSAGE
        return False
    repr(result)
    return True
