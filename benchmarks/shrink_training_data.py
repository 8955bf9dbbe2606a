"""Smaller copies of training data, where a machine takes only so many bytes.

    python benchmarks/shrink_training_data.py --photos photos/ --panoramas data/hdri hdri2/ --archive -o small
    python benchmarks/shrink_training_data.py ... --split train validation --most-bytes 45e6 --archive -o small
    tar xf small.tar.xz; python benchmarks/train_by_clock.py --photos small/photos --panoramas small/panoramas ...

Photographs are recompressed (JPEG 90, 4:4:4), panoramas rounded to mantissas of seven bits (Radiance .hdr); a file
whose copy would not be smaller is taken as it is. Only files of the named splits are taken, as the lists in data/splits
have them; lists know a file by its folder and stem, and copies keep both, as small/photos/SPLIT/FOLDER/STEM.jpg: so a
split is found again whatever the suffix is, by its folder where no list names the file.

Pictures keep their size where that fits into ``--most-bytes``, or else are averaged down in linear light, by one step
after the other; ``--longest`` names the longer edge instead. How far pixels moved is against the picture so averaged.
Nothing is written where nothing fits.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from command_line import Parser, start  # noqa: E402
from held_out import LISTS  # noqa: E402 - needs the path
from smaller_copies import KINDS, MANTISSA_BITS, PRESET, QUALITY, Copy, Kind, Reduction  # noqa: E402

from dcdr_deploy.errors import DcdrError, InputError, OutputError  # noqa: E402
from dcdr_deploy.scenes.splits import SplitEntry, files_of, read_split  # noqa: E402
from dcdr_deploy.system.hardware import cpu_threads  # noqa: E402

SPLITS = ("train", "validation")
"""The test split stays where it is: training does not need it."""
EDGES = (1024, 896, 768, 640, 512)
"""Longer edges to which pictures are averaged down, one after the other, until they fit."""
LEAST_EDGE = 64
MEGABYTE = 1e6

Found = dict[str, list[tuple[str, Path]]]
"""Files by kinds' names, each with its split."""


def found_files(folders: dict[str, Sequence[Path]], entries: dict[str, SplitEntry], splits: Sequence[str]) -> Found:
    """The files of some splits.

    Raises:
        InputError: a folder is missing, or no file is of these splits.
    """
    found: Found = {}
    for kind in KINDS:
        # Not relative, as a file in "." has no folder in its name.
        places = [folder.absolute() for folder in folders[kind.name]]
        found[kind.name] = [
            (split, path) for split in splits for path in files_of(places, kind.suffixes, entries, split)
        ]
        if places and not found[kind.name]:
            raise InputError(f"{', '.join(map(str, places))}: no {kind.name} of the split {' or '.join(splits)}")
    return found


def copy_all(found: Found, folder: Path, reduction: Reduction) -> dict[str, list[Copy]]:
    """Write copies into a folder, as KIND/SPLIT/FOLDER/STEM and a suffix; return them by kinds' names."""

    def copied(kind: Kind, split: str, path: Path) -> Copy:
        target = folder / kind.name / split / path.parent.name / path.stem
        target.parent.mkdir(parents=True, exist_ok=True)
        return kind.copy(path, target, reduction)

    with ThreadPoolExecutor(cpu_threads()) as pool:
        waiting = {kind.name: [pool.submit(copied, kind, *each) for each in found[kind.name]] for kind in KINDS}
        return {name: [each.result() for each in futures] for name, futures in waiting.items()}


def pack(folder: Path, name: str, archive: Path) -> None:
    """Write an archive of a folder's files below ``name``; the same files give the same bytes."""
    with tarfile.open(archive, "w:xz", preset=PRESET) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                member = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
                member.size = path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(member, file)


def told(copies: dict[str, list[Copy]], packed: bool) -> list[str]:
    """Sizes and what was given up, a line for each kind."""
    lines = []
    for kind in KINDS:
        if done := copies[kind.name]:
            before, after = (
                sum(sizes) / MEGABYTE for sizes in zip(*((each.before, each.after) for each in done), strict=True)
            )
            kept = sum(each.as_it_is for each in done)
            lines.append(
                f"{kind.name}: {len(done)} files, {before:.2f} MB became {after:.2f} MB{' packed' * packed}; "
                f"{kept} as they are; {kind.words(done)}"
            )
    return lines


def shrink(
    found: Found, output: Path, archive: Path | None, reduction: Reduction, edges: Sequence[int], most: float | None
) -> list[str]:
    """Write copies, and an archive of them, that fit; return what is to be told of them.

    Args:
        found: originals.
        output: folder that is made.
        archive: file that is made, or ``None``.
        reduction: what is given up.
        edges: smaller longer edges to try in turn.
        most: bytes of the archive, or of all files without one.

    Raises:
        InputError: an original cannot be read, or nothing fits.
        OutputError: the output is there already, or cannot be written.
    """
    for path in (output, archive):
        if path is not None and path.exists():
            raise OutputError(f"{path} is there already; choose another name or move it away")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as name:
            for number, longest in enumerate([reduction.longest, *edges]):
                folder, packed = Path(name, f"try-{number}"), Path(name, "archive")
                copies = copy_all(found, folder, replace(reduction, longest=longest))
                size = sum(each.after for done in copies.values() for each in done)
                lines = told(copies, archive is not None)
                if archive is not None:
                    pack(folder, output.name, packed)
                    size = packed.stat().st_size
                    lines.append(f"{archive.name}: {size / MEGABYTE:.2f} MB")
                if most is None or size <= most:
                    folder.rename(output)
                    if archive is not None:
                        packed.rename(archive)
                    return [f"longer edge at most {longest} px"] * bool(longest) + lines
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error}); choose another place") from error
    remedy = "a larger --most-bytes or a smaller --longest" if reduction.longest else "a larger --most-bytes, --longest"
    raise InputError(
        f"{size:,} bytes at a longer edge of {longest} px are more than {most:,.0f}; give {remedy} or less"
    )


def byte_count(text: str) -> float:
    """A number of bytes, 45e6 too."""
    value = float(text)
    if not value >= 1:
        raise ValueError(text)
    return value


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(__doc__)
    add = parser.add_argument
    folders: dict[str, Any] = {"type": Path, "nargs": "+", "action": "extend", "default": [], "metavar": "FOLDER"}
    add("--photos", **folders)
    add("--panoramas", **folders)
    add("--split", choices=SPLITS, nargs="+", default=["train"], help="[train]")
    add("--split-list", type=Path, action="append", help="instead of those in data/splits; repeatable")
    add("--most-bytes", type=byte_count, metavar="N", help="of the archive, or of all files without --archive")
    add("--longest", type=int, metavar="EDGE", help="longer edge in pixels above which pictures are averaged down")
    add("--quality", type=int, default=QUALITY, help="of JPEG files [%(default)s]")
    add("--bits", type=int, default=MANTISSA_BITS, choices=range(4, 9), help="of mantissas [%(default)s]")
    add("--archive", action="store_true", help="write FOLDER.tar.xz too")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="that is made")
    options = parser.parse_args(arguments)
    if not options.photos and not options.panoramas:
        parser.error("nothing to copy; give --photos or --panoramas")
    if options.longest is not None and options.longest < LEAST_EDGE:
        parser.error(f"--longest must be at least {LEAST_EDGE}")
    if not 1 <= options.quality <= 100:
        parser.error("--quality lies in 1..100")
    return options


def main() -> int:
    options = parsed()
    output = options.output.absolute()
    archive = output.with_name(f"{output.name}.tar.xz") if options.archive else None
    reduction = Reduction(options.quality, options.bits, options.longest, options.archive)
    edges = EDGES if options.most_bytes and not options.longest else ()
    try:
        lists = LISTS if options.split_list is None else options.split_list
        entries = {name: entry for path in lists for name, entry in read_split(path).items()}
        folders = {"photos": options.photos, "panoramas": options.panoramas}
        found = found_files(folders, entries, list(dict.fromkeys(options.split)))
        print("\n".join(shrink(found, output, archive, reduction, edges, options.most_bytes)))
    except DcdrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    start(main)
