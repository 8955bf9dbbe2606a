"""Numbers with the words for so many."""

import ast
import re
from pathlib import Path

import pytest

import dcdr_deploy
from dcdr_deploy.system.words import number_of, share_of, word_for


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((1, "file"), "1 file"),
        ((0, "file"), "0 files"),
        ((2, "file"), "2 files"),
        ((1, "retry", "retries"), "1 retry"),
        ((3, "retry", "retries"), "3 retries"),
        ((12345, "pixel", "", ","), "12,345 pixels"),
        ((1.0, "GPU", "", "g"), "1 GPU"),
        ((0.5, "GPU", "", "g"), "0.5 GPUs"),
    ],
)
def test_a_number_has_the_word_for_so_many(given: tuple[float, str], said: str) -> None:
    assert number_of(*given) == said
    assert word_for(*given[:3]) == said.split()[1]


@pytest.mark.parametrize(
    ("part", "said"), [(0, "0.0%"), (1e-9, "under 0.1%"), (0.0004, "under 0.1%"), (0.0005, "0.1%"), (0.5, "50.0%")]
)
def test_a_little_is_told_from_nothing(part: float, said: str) -> None:
    assert share_of(part) == said
    assert share_of(part, " %") == said.replace("%", " %")


COUNTS = re.compile(r"len\(|\bcount\b|_count\(|retries|threads")
NOUNS = re.compile(
    r"^ (files|pictures|frames|tiles|pairs|videos|tracks|subtitles|packets|threads|retries|inputs|outputs|pixels|bytes"
    r"|segments|layers|actors|machines|GPUs|sheets|predictions|truths|others|entries|runs|steps)\b"
)


def unsaid(path: Path) -> list[str]:
    """The f-strings of a module that put a plural behind a count as it is."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, node.values[1:], strict=False):
                counted = isinstance(value, ast.FormattedValue) and COUNTS.search(ast.unparse(value.value))
                if counted and isinstance(after, ast.Constant) and NOUNS.match(str(after.value)):
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    return found


OF_MANY = {
    "xmp.py": "bytes of XMP",
    "xmp_carry.py": "bytes of XMP",
    "heif.py": "first of",
    "page.py": "pictures",
    "pairs.py": "is one input for",
    "jobs.py": "share a name with another",
}
"""Sentences that are said of two and more alone, by module."""


def test_no_sentence_has_a_plural_behind_a_count_that_may_be_one(tmp_path: Path) -> None:
    package = Path(dcdr_deploy.__file__).parent
    found = {each: OF_MANY.get(path.name) for path in package.rglob("*.py") for each in unsaid(path)}
    assert [each for each, allowed in found.items() if allowed is None or allowed not in each] == []
    (tmp_path / "a.py").write_text("def f(a): return f'{len(a)} files'")
    assert len(unsaid(tmp_path / "a.py")) == 1
