"""A warp that runs PTX without a GPU: the integer instructions that the kernel is made of.

Its 32 lanes run in step; a branch or an end that not all of them take is an error, as is an
instruction that is not known here. So is a lane that loads what another has stored, or replaces
what another has used, with no barrier in between. A register in which all lanes agree holds an
int, others an array of 32: int32, bool for predicates, int64 for addresses.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from typing import Any

import numpy as np

LANES = 32
_ADDRESS_BITS = 40  # of an address, below the number of the array it points into
_WORD = 2**32

_STATEMENT = re.compile(r"(?:@(!?)(%\w+)\s+)?([\w.]+)\s*(.*)", re.DOTALL)
_ADDRESS = re.compile(r"\[\s*(%?\w+)\s*(?:\+\s*(-?\d+)\s*)?\]")
_COMPARE = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_ARITHMETIC = {
    "add": operator.add,
    "sub": operator.sub,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": operator.lshift,
    "shr": operator.rshift,
}
_EXTREMES = {"max": (max, np.maximum), "min": (min, np.minimum)}
_WITHOUT_EFFECT = {"griddepcontrol"}
_LANE = 1 << np.arange(LANES)  # sets of lanes are numbers, a bit a lane


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
    numbers = (int(each, 0) if re.match(r"-?\d", each) else each for each in sources)
    last = words[-1] if words else ""
    return Instruction(guard, negated == "!", kind, tuple(words), last, target, tuple(numbers))


def run(program: Program, block: int, arrays: list[np.ndarray], most_steps: int = 10**7) -> int:
    """Run one block of 32 threads.

    Args:
      program: the kernel.
      block: number of the block.
      arrays: int32, contiguous, one for each parameter; written in place.
      most_steps: after so many instructions it gives up.

    Returns:
      How many instructions the warp executed.
    """
    warp = _Warp(program, block, arrays)
    for step in range(1, most_steps + 1):
        if warp.step():
            return step
    raise RuntimeError(f"the kernel has not ended after {most_steps} instructions")


class _Memory:
    """Arrays, and the lanes that have loaded or stored each word since the last barrier."""

    def __init__(self, arrays: list[np.ndarray]):
        self.arrays = [array.reshape(-1) for array in arrays]
        self.loaded, self.stored = (
            [np.zeros(array.shape, int) for array in self.arrays] for _ in range(2)
        )

    def wait(self) -> None:
        """Let every lane see what the others have stored."""
        for lanes in (*self.loaded, *self.stored):
            lanes.fill(0)

    def load(self, which: int, word: Any) -> Any:
        """Load a word for all lanes, or one a lane."""
        words = np.broadcast_to(word, LANES)
        _check(self.stored[which][words], _LANE, "loads what another has stored")
        np.bitwise_or.at(self.loaded[which], words, _LANE)
        values = self.arrays[which][word]
        return values if isinstance(word, np.ndarray) else int(values)

    def store(self, which: int, word: Any, value: Any, is_active: Any) -> None:
        """Store a number for all lanes, or one a lane."""
        active = np.flatnonzero(np.broadcast_to(is_active, LANES))
        words, values = (np.broadcast_to(each, LANES)[active] for each in (word, value))
        for lanes in (self.loaded, self.stored):
            _check(lanes[which][words], _LANE[active], "replaces what another has used")
        np.bitwise_or.at(self.stored[which], words, _LANE[active])
        self.arrays[which][words] = values
        if np.any(self.arrays[which][words] != values):
            raise NotImplementedError("lanes store several numbers in one word")


def _check(users: np.ndarray, lane: np.ndarray, what: str) -> None:
    if np.any(users & ~lane):
        raise RuntimeError(f"a lane {what}, and no barrier is in between")


class _Warp:
    def __init__(self, program: Program, block: int, arrays: list[np.ndarray]):
        self.program = program
        self.memory = _Memory(arrays)
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
        if isinstance(is_active, np.ndarray):
            if it.kind in ("bra", "ret", "redux", "bar", "ld"):
                raise NotImplementedError(f"lanes part at {it.kind}")
        elif not is_active:
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
                dtype = bool if it.kind == "setp" else np.int32
                result = np.where(is_active, result, self.registers.get(it.target, 0)).astype(dtype)
            self.registers[it.target] = result
        return it.kind == "ret"

    def values(self, it: Instruction, type: str) -> list[Any]:
        """Read the sources as numbers of a type."""
        registers = self.registers
        return [_typed(registers.get(each, each), type) for each in it.sources]

    def result(self, it: Instruction) -> Any:
        if it.kind in ("mov", "cvt", "cvta"):
            return _stored(*self.values(it, it.type), it.words[0] if it.kind == "cvt" else it.type)
        if it.kind == "selp":
            yes, no = self.values(it, it.type)[:2]
            predicate = self.registers[it.sources[2]]
            if not isinstance(predicate, np.ndarray):
                return yes if predicate else no
            return np.where(predicate, yes, no).astype(np.int32)
        values = self.values(it, it.type)
        if it.kind == "setp":
            return _COMPARE[it.words[0]](*values)
        if it.kind == "not" and it.type == "pred":
            return np.logical_not(*values)
        if it.kind in ("mul", "mad"):
            return self.product(it, values)
        if it.kind == "redux":
            reduce = {"max": np.max, "min": np.min}[it.words[1]]
            return _stored(int(reduce(values[0])), it.type)
        if it.kind in _EXTREMES:
            of_ints, of_arrays = _EXTREMES[it.kind]
            is_vector = any(isinstance(value, np.ndarray) for value in values)
            return _stored((of_arrays if is_vector else of_ints)(*values), it.type)
        if it.kind in _ARITHMETIC:
            return _stored(_ARITHMETIC[it.kind](*values), it.type)
        raise NotImplementedError(".".join((it.kind, *it.words)))

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
        return _stored(_stored(product, type) + (values[2] if it.kind == "mad" else 0), type)

    def address(self, operand: Any) -> tuple[int, Any]:
        """Split an address into the number of an array and an index."""
        match = _ADDRESS.fullmatch(operand)
        if match is None:
            raise NotImplementedError(f"address {operand}")
        address = self.registers[match[1]] + int(match[2] or 0)
        (which,) = np.unique(address >> _ADDRESS_BITS)
        return int(which) - 1, (address & ((1 << _ADDRESS_BITS) - 1)) // 4

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


def _typed(value: Any, type: str) -> Any:
    """Read what a register holds as unsigned where the type is."""
    if type != "u32":
        return value
    return value.view(np.uint32) if isinstance(value, np.ndarray) else value % _WORD


def _stored(value: Any, type: str) -> Any:
    """Hold a result in a register: 32 bits as signed numbers, wrapped."""
    if type not in ("s32", "u32", "b32"):
        return value
    if isinstance(value, np.ndarray):
        return value.view(np.int32)
    return (value + _WORD // 2) % _WORD - _WORD // 2
