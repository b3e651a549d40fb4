"""A warp that runs PTX without a GPU: the integer instructions that the kernel is made of.

Its 32 lanes run in step; a branch or an end that not all of them take is an error, as is an
instruction that is not known here. A register in which all lanes agree holds an int, others an
array of 32: int32, bool for predicates, int64 for addresses.
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


class _Warp:
    def __init__(self, program: Program, block: int, arrays: list[np.ndarray]):
        self.program = program
        self.arrays = [array.reshape(-1) for array in arrays]
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
            if it.kind in ("bra", "ret", "redux"):
                raise NotImplementedError(f"lanes part at {it.kind}")
        elif not is_active:
            return False
        if it.kind == "bra":
            self.next = self.program.labels[it.target]
        elif it.kind == "st":
            self.store(it, is_active)
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
        if it.kind == "ld":
            return self.loaded(it)
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

    def address(self, operand: Any) -> tuple[Any, Any]:
        """Split an address into the number of an array and an index."""
        match = _ADDRESS.fullmatch(operand)
        if match is None:
            raise NotImplementedError(f"address {operand}")
        address = self.registers[match[1]] + int(match[2] or 0)
        return (address >> _ADDRESS_BITS) - 1, (address & ((1 << _ADDRESS_BITS) - 1)) // 4

    def loaded(self, it: Instruction) -> Any:
        if it.words[0] == "param":
            return self.registers[it.sources[0].strip("[] ")]
        which, index = self.address(it.sources[0])
        if isinstance(index, np.ndarray):
            raise NotImplementedError("lanes load from several places")
        return int(self.arrays[which][index])

    def store(self, it: Instruction, is_active: Any) -> None:
        which, index = self.address(it.target)
        (value,) = self.values(it, "s32")
        if any(isinstance(each, np.ndarray) for each in (index, value)):
            raise NotImplementedError("lanes store several numbers")
        if np.any(is_active):
            self.arrays[which][index] = value


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
