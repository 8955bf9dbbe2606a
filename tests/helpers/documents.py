"""The documents of this repository, and the code in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "samples/*.md", "benchmarks/results/*.md", "dcdr_deploy/weights/*.md")
    for path in ROOT.glob(pattern)
)

FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^(?: {4}|\t).*\n?)+", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


def code(document: Path) -> list[str]:
    """All lines of a document that are code: blocks by line, continued lines joined, and inline code."""
    text = document.read_text(encoding="utf-8")
    blocks = [*FENCE.findall(text), *_INDENTED.findall(text)]
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [*lines, *(" ".join(words.split()) for words in _INLINE.findall(FENCE.sub("", text)))]


def parts(line: str, start: str) -> list[str] | None:
    """The words after ``start`` in a line of code, without its comment; ``None`` where it does not begin so."""
    found = re.match(rf"(?:\S*/)?{start}\s+(.*)", line)
    return shlex.split(found[1], comments=True) if found else None
