"""A warp that runs PTX without a GPU: the instructions that the kernels are made of.

Its 32 lanes run in step; a branch or an end that not all of them take is an error, as is an
instruction that is not known here. So is a lane that loads what another has stored, or replaces
what another has used, with no barrier in between.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import _ptx_numbers as numbers
import numpy as np

LANES = 32
_ADDRESS_BITS = 40  # of an address, below the number of the array it points into

_STATEMENT = re.compile(r"(?:@(!?)(%\w+)\s+)?([\w.]+)\s*(.*)", re.DOTALL)
_ADDRESS = re.compile(r"\[\s*(%?\w+)\s*(?:\+\s*(-?\d+)\s*)?\]")
_WITHOUT_EFFECT = {"griddepcontrol"}
_LANE = 1 << np.arange(LANES)  # sets of lanes are numbers, a bit a lane
_WARP = 2**LANES - 1


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction, with the predicate that guards it."""

    guard: str | None
    is_negated: bool
    kind: str  # "setp" of "setp.lt.s32"
    words: tuple[str, ...]  # "lt", "s32"
    type: str  # "s32"
    target: str
    sources: tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Program:
    """A kernel as written in PTX."""

    parameters: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]


def parsed(text: str) -> Program:
    """Read the only kernel in a module."""
    text = re.sub(r"//[^\n]*", "", text)
    head, _, body = text[text.index(".entry") :].partition("{")
    instructions, labels = [], {}
    for statement in body[: body.rindex("}")].split(";"):
        statement = re.sub(r"^\s*\.(loc|file)\b[^\n]*$", "", statement, flags=re.MULTILINE).strip()
        while label := re.match(r"(\$?\w+):\s*", statement):
            labels[label[1]] = len(instructions)
            statement = statement[label.end() :]
        if statement and not statement.startswith("."):
            instructions.append(_instruction(statement))
    return Program(tuple(re.findall(r"(\w+_param_\d+)", head)), tuple(instructions), labels)


def _instruction(statement: str) -> Instruction:
    match = _STATEMENT.fullmatch(statement)
    if match is None:
        raise ValueError(f"no PTX instruction: {statement}")
    negated, guard, opcode, operands = match.groups()
    kind, *words = opcode.split(".")
    target, *sources = (each.strip(" \t\n{}") for each in operands.split(","))
    if target == "_":  # of two halves, the upper one is kept
        kind, target, sources = "upper", sources[0], sources[1:]
    read = (numbers.literal(each) if re.match(r"-?\d", each) else each for each in sources)
    last = words[-1] if words else ""
    return Instruction(guard, negated == "!", kind, tuple(words), last, target, tuple(read))


def run(
    program: Program,
    block: int,
    arrays: list[np.ndarray],
    may_replace: bool = False,
    most_steps: int = 10**7,
) -> int:
    """Run one block of 32 threads.

    Args:
      program: the kernel.
      block: number of the block.
      arrays: of 32 or 64 bits, contiguous, one for each parameter; written in place.
      may_replace: a lane may store, with no barrier, where others have loaded: they run in step.
      most_steps: after so many instructions it gives up.

    Returns:
      How many instructions the warp executed.
    """
    warp = _Warp(program, block, arrays, may_replace)
    with np.errstate(all="ignore"):
        for step in range(1, most_steps + 1):
            if warp.step():
                return step
    raise RuntimeError(f"the kernel has not ended after {most_steps} instructions")


class _Memory:
    """Arrays, and the lanes that have loaded or stored each word since the last barrier."""

    def __init__(self, arrays: list[np.ndarray], may_replace: bool):
        self.may_replace = may_replace
        self.touched: list[tuple[int, Any]] = []
        self.arrays = [array.reshape(-1).view(f"i{array.itemsize}") for array in arrays]
        self.loaded, self.stored = (
            [np.zeros(array.shape, int) for array in self.arrays] for _ in range(2)
        )

    def wait(self) -> None:
        """Let every lane see what the others have stored."""
        for which, word in self.touched:
            self.loaded[which][word] = self.stored[which][word] = 0
        self.touched.clear()

    def load(self, which: int, word: Any) -> Any:
        """Load a word for all lanes, or one a lane."""
        self.touched.append((which, word))
        if not isinstance(word, np.ndarray):
            _check(self.stored[which][word], _LANE, "loads what another has stored")
            self.loaded[which][word] = _WARP
            return int(self.arrays[which][word])
        _check(self.stored[which][word], _LANE, "loads what another has stored")
        np.bitwise_or.at(self.loaded[which], word, _LANE)
        return self.arrays[which][word]

    def store(self, which: int, word: Any, value: Any, is_active: Any) -> None:
        """Store a number for all lanes, or one a lane."""
        self.touched.append((which, word))
        active = np.flatnonzero(np.broadcast_to(is_active, LANES))
        words, values = (np.broadcast_to(each, LANES)[active] for each in (word, value))
        for lanes in (self.stored,) if self.may_replace else (self.loaded, self.stored):
            _check(lanes[which][words], _LANE[active], "replaces what another has used")
        np.bitwise_or.at(self.stored[which], words, _LANE[active])
        self.arrays[which][words] = values
        if np.any(self.arrays[which][words] != values):
            raise NotImplementedError("lanes store several numbers in one word")


def _check(users: np.ndarray, lane: np.ndarray, what: str) -> None:
    if np.any(users & ~lane):
        raise RuntimeError(f"a lane {what}, and no barrier is in between")


class _Warp:
    def __init__(self, program: Program, block: int, arrays: list[np.ndarray], may_replace: bool):
        self.program = program
        self.memory = _Memory(arrays, may_replace)
        self.next = 0
        self.registers: dict[Any, Any] = {
            name: (index + 1) << _ADDRESS_BITS for index, name in enumerate(program.parameters)
        }
        self.registers |= {"%tid.x": np.arange(LANES, dtype=np.int32), "%ctaid.x": block}

    def step(self) -> bool:
        """Execute one instruction; True when the warp has ended."""
        it = self.program.instructions[self.next]
        self.next += 1
        is_active = True
        if it.guard is not None:
            guard = self.registers[it.guard]
            is_active = np.logical_not(guard) if it.is_negated else guard
        if it.kind in ("bra", "ret", "redux", "shfl", "bar", "ld"):
            is_active = _agreed(is_active)
        if not isinstance(is_active, np.ndarray) and not is_active:
            return False
        if it.kind == "bra":
            self.next = self.program.labels[it.target]
        elif it.kind == "bar":
            self.memory.wait()
        elif it.kind == "st":
            self.store(it, is_active)
        elif it.kind == "ld":
            self.load(it)
        elif it.kind != "ret" and it.kind not in _WITHOUT_EFFECT:
            result = self.result(it)
            if isinstance(is_active, np.ndarray):
                dtype = bool if it.kind == "setp" else numbers.bits_of(it.type)
                result = np.where(is_active, result, self.registers.get(it.target, 0)).astype(dtype)
            self.registers[it.target] = result
        return it.kind == "ret"

    def values(self, it: Instruction, type: str) -> list[Any]:
        """Read the sources as numbers of a type."""
        registers = self.registers
        return [numbers.typed(registers.get(each, each), type) for each in it.sources]

    def result(self, it: Instruction) -> Any:
        if it.kind == "selp":
            yes, no, condition = (self.registers.get(each, each) for each in it.sources)
            if not isinstance(condition, np.ndarray):
                return yes if condition else no
            return np.where(condition, yes, no).astype(numbers.bits_of(it.type))
        values = self.values(it, it.type)
        if it.kind == "cvt":
            return numbers.stored(numbers.converted(*values, it.words), it.words[-2])
        if it.kind == "upper":
            return numbers.stored(values[0] >> 32, "b32")
        if it.kind in ("mov", "cvta"):
            return numbers.stored(*values, it.type)
        if it.kind == "setp":
            compare = numbers.COMPARE_FLOATS if numbers.is_floating(it.type) else numbers.COMPARE
            return compare[it.words[0]](*values)
        if it.kind == "not":
            is_predicate = it.type == "pred"
            return np.logical_not(*values) if is_predicate else numbers.stored(~values[0], it.type)
        if it.kind == "popc":
            return (values[0] % 2**32).bit_count()
        if it.kind == "shfl":
            return self.exchanged(it, *values)
        if it.kind == "redux":
            reduce = {"max": np.max, "min": np.min, "add": np.sum}[it.words[1]]
            return numbers.stored(reduce(np.broadcast_to(values[0], LANES)), it.type)
        if numbers.is_floating(it.type):
            kind = f"{it.kind}.NaN" if "NaN" in it.words else it.kind
            return numbers.stored(numbers.FLOATING[kind](*values), it.type)
        if it.kind in ("mul", "mad"):
            return self.product(it, values)
        if it.kind in numbers.INTEGER:
            return numbers.stored(numbers.INTEGER[it.kind](*values), it.type)
        raise NotImplementedError(".".join((it.kind, *it.words)))

    def exchanged(self, it: Instruction, value: Any, mask: int, *_: int) -> Any:
        """Hand each lane the number of the lane across the butterfly."""
        if it.words[1] != "bfly":
            raise NotImplementedError(".".join((it.kind, *it.words)))
        return value[np.arange(LANES) ^ mask] if isinstance(value, np.ndarray) else value

    def product(self, it: Instruction, values: list[Any]) -> Any:
        """Compute mul and mad, ``lo`` or ``wide``."""
        type = it.type
        if it.words[0] == "wide":
            type = {"s32": "s64", "u32": "u64"}[type]
            values = [
                each.astype(np.int64) if isinstance(each, np.ndarray) else each for each in values
            ]
        product = values[0] * values[1]
        # A sum of two numbers of 32 bits must be wrapped in between, or it is none.
        added = values[2] if it.kind == "mad" else 0
        return numbers.stored(numbers.stored(product, type) + added, type)

    def address(self, operand: Any) -> tuple[int, Any]:
        """Split an address into the number of an array and an index."""
        match = _ADDRESS.fullmatch(operand)
        if match is None:
            raise NotImplementedError(f"address {operand}")
        address = self.registers[match[1]] + int(match[2] or 0)
        which = _agreed(address >> _ADDRESS_BITS) - 1
        itemsize = self.memory.arrays[which].itemsize
        return which, (address & ((1 << _ADDRESS_BITS) - 1)) // itemsize

    def load(self, it: Instruction) -> None:
        """Load into the registers of a list that ends with the address."""
        *others, place = it.sources
        if it.words[0] == "param":
            self.registers[it.target] = self.registers[place.strip("[] ")]
            return
        which, word = self.address(place)
        for offset, target in enumerate((it.target, *others)):
            self.registers[target] = self.memory.load(which, word + offset)

    def store(self, it: Instruction, is_active: Any) -> None:
        which, word = self.address(it.target)
        for offset, value in enumerate(self.values(it, "s32")):
            self.memory.store(which, word + offset, value, is_active)


def _agreed(value: Any) -> Any:
    """Return what all lanes say; an error if they do not."""
    if not isinstance(value, np.ndarray):
        return value
    if np.any(value != value[0]):
        raise NotImplementedError("lanes part")
    return value[0].item()
