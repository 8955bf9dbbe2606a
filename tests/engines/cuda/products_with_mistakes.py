"""The deformable block by products of four warps as it must not be."""

from __future__ import annotations

from dcdr_deploy.engines.cuda.compiler import source_text

TOO_LATE = "waited for before the next products"

_BEGIN = "    hold_all(sum);\n    begin_products();\n"
_WAIT = "    commit_products();\n    wait_products<0>();\n    hold_all(sum);\n"
_SHOW = (
    "    show_to_products();\n    __syncthreads();\n  }\n  __device__ __forceinline__ void begin(int tap) {\n    tap_p"
)

_CHANGES = {
    TOO_LATE: {_BEGIN: f"    wait_products<0>();\n{_BEGIN}", _WAIT: "    commit_products();\n"},
    "weights not shown": {_SHOW: _SHOW.replace("    show_to_products();\n", "")},
}

WITH_MISTAKES = {
    TOO_LATE: "the left side of a product in flight is written",
    "weights not shown": "a product reads shared memory that was not shown to it",
}
"""Mistakes, with what the emulator says of them."""


def with_mistake(mistake: str) -> str:
    """Return the source of the blocks with a mistake out of :data:`WITH_MISTAKES`."""
    text = source_text("dcrb_from_hidden")
    for right, wrong in _CHANGES[mistake].items():
        assert text.count(right) == 1, "the source is no longer what the mistakes were made for"
        text = text.replace(right, wrong)
    return text
