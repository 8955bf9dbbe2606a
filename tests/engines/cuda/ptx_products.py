"""Whether compiled code keeps its hands off the registers of products in flight (wgmma), read from PTX.

What the compiler makes of a source may break a rule that the source keeps: it may move arithmetic over a wait. And a
loop may write registers that the products of the round before are still reading; ptxas keeps other values out of a
product's registers only in code that keeps the rule itself. The rule (PTX ISA, wgmma.mma_async): the registers of a
product's sums and of its left side are not accessed before a wgmma.wait_group for its group, but by other products, and
a wgmma.fence stands between a product and what wrote its registers before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_ENTRY = re.compile(r"\.entry\s+(\w+)\s*\([^)]*\)[^{]*\{")
_REGISTER = re.compile(r"%[a-z]+\d+\b")
_FIRST_OPERAND = re.compile(r"\S+\s+(\{[^}]*\}|[^,]*)")
_LABEL = re.compile(r"^\s*(\$?\w+):")
_WITHOUT_RESULT = ("st.", "red.", "bar.", "cp.", "prefetch", "fence.", "membar", "bra", "ret", "exit", "trap", "wgmma.")
_MOST_GROUPS = 8
"""Of groups in flight that are told from each other; older ones count as one."""


@dataclass(frozen=True)
class Step:
    """An instruction, the registers that it writes and reads, and of a product those of its sums and its left side."""

    text: str
    writes: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    sums: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()


@dataclass
class State:
    """Registers in flight by group, the oldest first and the growing one last; sums; those written since a fence."""

    groups: list[frozenset[str]] = field(default_factory=lambda: [frozenset()])
    sums: frozenset[str] = frozenset()
    unfenced: frozenset[str] = frozenset()

    def joined(self, other: State) -> State:
        """What may be in flight where two ways meet."""
        most = max(len(self.groups), len(other.groups))
        mine, theirs = ([frozenset[str]()] * (most - len(each.groups)) + each.groups for each in (self, other))
        groups = [a | b for a, b in zip(mine, theirs, strict=True)]
        return State(groups, self.sums | other.sums, self.unfenced | other.unfenced)


def kernels(ptx: str) -> dict[str, list[str]]:
    """Return the lines of PTX of each kernel."""
    starts = [(match[1], match.end()) for match in _ENTRY.finditer(ptx)]
    ends = [place for _, place in starts[1:]] + [len(ptx)]
    return {name: ptx[start:end].splitlines() for (name, start), end in zip(starts, ends, strict=True)}


def violations(lines: list[str]) -> list[str]:
    """Return what a kernel does to registers of products in flight, a line each; empty for one that keeps the rule."""
    blocks, follow = _blocks(lines)
    used = {register for block in blocks for step in block for register in step.sums | step.left}
    states: dict[int, State] = {0: State()}
    waiting, found = [0], dict[str, None]()
    while waiting:
        number = waiting.pop()
        state = states[number]
        for step in blocks[number]:
            state = _after(state, step, used, found)
        for place in follow[number]:
            merged = state if place not in states else states[place].joined(state)
            if place not in states or merged != states[place]:
                states[place] = merged
                waiting.append(place)
    return list(found)


def _after(state: State, step: Step, used: set[str], found: dict[str, None]) -> State:
    flying = frozenset().union(*state.groups)
    if step.sums:
        for wrong, what in (
            ((step.sums | step.left) & state.unfenced, "is written after the last fence"),
            (step.left & state.sums & flying, "holds a sum in flight"),
        ):
            if wrong:
                found[f"{min(wrong)} of a product {what}"] = None
        groups = [*state.groups[:-1], state.groups[-1] | step.sums | step.left]
        return State(groups, state.sums | step.sums, state.unfenced)
    for wrong, what in ((step.writes & flying, "written"), (step.reads & flying, "read")):
        if wrong:
            found[f"{min(wrong)} of a product in flight is {what}: {step.text}"] = None
    if step.text.startswith("wgmma.fence"):
        return State(state.groups, state.sums, frozenset())
    if step.text.startswith("wgmma.commit_group"):
        groups = [*state.groups, frozenset[str]()]
        while len(groups) > _MOST_GROUPS:
            groups[:2] = [groups[0] | groups[1]]
        return State(groups, state.sums, state.unfenced)
    if step.text.startswith("wgmma.wait_group"):
        pending = int(step.text.split()[-1])
        *committed, growing = state.groups
        return State([*committed[max(len(committed) - pending, 0) :], growing], state.sums, state.unfenced)
    if step.writes & used:
        return State(state.groups, state.sums, state.unfenced | step.writes & used)
    return state


def _blocks(lines: list[str]) -> tuple[list[list[Step]], list[list[int]]]:
    """Return the basic blocks of a kernel, and which may follow each."""
    blocks: list[list[Step]] = [[]]
    places, jumps = dict[str, int](), dict[int, list[str]]()
    through = [True]

    def begin() -> None:
        blocks.append([])
        through.append(True)

    for text in _instructions(lines):
        if label := _LABEL.match(text):
            begin()
            places[label[1]] = len(blocks) - 1
            continue
        guard, _, rest = text.partition(" ") if text.startswith("@") else ("", "", text)
        rest = rest.strip()
        operation = rest.split()[0]
        blocks[-1].append(_step(rest, guard))
        if operation.split(".")[0] in ("bra", "ret", "exit", "trap"):
            if operation.startswith("bra"):
                jumps[len(blocks) - 1] = [rest.split()[-1]]
            through[-1] = bool(guard)
            begin()
    follow = []
    for number in range(len(blocks)):
        then = [number + 1] if through[number] and number + 1 < len(blocks) else []
        follow.append(then + [places[label] for label in jumps.get(number, [])])
    return blocks, follow


def _instructions(lines: list[str]) -> Iterator[str]:
    """Labels, and instructions without their semicolons."""
    kept = ""
    for line in lines:
        text = line.partition("//")[0].strip().lstrip("{} \t")  # no instruction begins with a brace: a scope does
        if not text or text.startswith("."):
            continue
        if _LABEL.match(text) and not kept:
            yield text
            continue
        kept = f"{kept} {text}".strip()
        if kept.endswith((";", "}")):
            pieces = (each.strip("{} \t") if "{" not in each else each.strip() for each in kept.split(";"))
            yield from filter(None, pieces)
            kept = ""


def _step(text: str, guard: str) -> Step:
    registers = [match[0] for match in _REGISTER.finditer(text)]
    if text.startswith("wgmma.mma_async"):
        sums, left = (frozenset(_REGISTER.findall(each)) for each in re.findall(r"\{([^}]*)\}", text)[:2])
        return Step(text, sums=sums, left=left)
    written: list[str] = []
    if not text.startswith(_WITHOUT_RESULT) and (first := _FIRST_OPERAND.match(text)):
        written = _REGISTER.findall(first[1])
    read = registers[len(written) :] + _REGISTER.findall(guard)
    return Step(text, frozenset(written), frozenset(read))
