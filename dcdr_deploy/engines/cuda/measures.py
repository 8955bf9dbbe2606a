"""What a network's kernels are compiled with on a GPU, and how a frame is cut into launches: the table's, or others.

The table is what is known of an SM without having its GPU at hand; ``tuning/`` measures there what is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from dcdr_deploy.engines.cuda import dcrb_from_hidden
from dcdr_deploy.engines.cuda.compiler import source_text
from dcdr_deploy.engines.cuda.convolution_table import Variant, instantiations, variants
from dcdr_deploy.engines.cuda.dcrb_from_hidden import Shape, shape_of
from dcdr_deploy.engines.cuda.launches import Form

SEPARATE, FEWEST = "one launch each", "fewest launches"

CUTS: dict[str, tuple[bool, bool]] = {
    SEPARATE: (False, False),
    "two convolutions at once": (True, False),
    "hidden maps together": (False, True),
    FEWEST: (True, True),
}
"""Ways of cutting a frame into launches, by name: whether a convolution to three channels is computed with the one
before it, and whether the hidden maps of full size come from one launch. All compute the same."""

FEWER_LAUNCHES: frozenset[int] = frozenset({90})
"""SMs on which fewer and larger launches are known to be faster; see ``benchmarks/gpu_network.py``."""


@dataclass(frozen=True)
class BlockMeasures:
    """What ``dcrb_from_hidden.cu`` is compiled with; the numbers at its top.

    Attributes:
        threads: of a block.
        gathering: how lanes share the lines that are sampled: ``"HALVES"`` or ``"PAIRS"``.
        ahead: the next tap's offsets are asked for ahead.
        early: the hidden channels are asked for before the convolution.
        sft_resident: the weights of the SFT layer are kept in shared memory.
        wgmma: four warps multiply together (SM90 only).
    """

    threads: int
    gathering: str
    ahead: bool
    early: bool
    sft_resident: bool
    wgmma: bool = False

    @property
    def label(self) -> str:
        """The measures in words."""
        return " ".join(f"{each.name}={_word(getattr(self, each.name))}" for each in fields(self))

    def shape(self, sm: int) -> Shape:
        """Return how the kernels are launched."""
        return Shape(self.threads, self.sft_resident, shape_of(sm).streamed)

    @property
    def defines(self) -> tuple[str, ...]:
        """The measures as a preprocessor's definitions, such as ``"DCRB_THREADS=384"``."""
        return tuple(f"DCRB_{each.name.upper()}={_word(getattr(self, each.name))}" for each in fields(self))

    def text(self) -> str:
        """Return the source with these measures."""
        defines = "".join(f"#define {each.replace('=', ' ')}\n" for each in self.defines)
        return defines + source_text(dcrb_from_hidden.SOURCE)


def _word(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Measures:
    """What the kernels of a network are compiled with.

    Attributes:
        sm: that they are compiled for.
        convolutions: by what they are for, as in :func:`convolution_table.variants`.
        block: of the deformable blocks.
        cut: how a frame is cut into launches, a name in :data:`CUTS`.
    """

    sm: int
    convolutions: Mapping[str, Variant]
    block: BlockMeasures
    cut: str = SEPARATE

    @property
    def form(self) -> Form:
        """The form of a frame."""
        joined, hidden_together = CUTS[self.cut]
        return Form(self.convolutions["64_64_3"].shape.tile if joined else None, hidden_together)

    def text(self, source: str) -> str | None:
        """Return the text of a CUDA source with these measures; ``None`` where they are the table's."""
        if source == "convolution" and self.convolutions != variants(self.sm):
            return source_text(source) + instantiations(self.convolutions)
        if source == dcrb_from_hidden.SOURCE and self.block != block_by_table(self.sm):
            return self.block.text()
        return None


def by_table(sm: int) -> Measures:
    """Return the measures that are known for an SM."""
    return Measures(sm, variants(sm), block_by_table(sm), FEWEST if sm in FEWER_LAUNCHES else SEPARATE)


def block_by_table(sm: int) -> BlockMeasures:
    """Return what ``dcrb_from_hidden.cu`` itself says of an SM."""
    shape = shape_of(sm)
    few = shape.threads == 256
    return BlockMeasures(shape.threads, "HALVES" if few else "PAIRS", sm not in (80, 90), few, shape.sft_resident)
