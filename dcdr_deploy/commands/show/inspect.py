"""What ``dcdr-deploy inspect`` shows."""

from __future__ import annotations

from typing import Any


def format_inspection(data: dict[str, Any]) -> str:
    """The description for people: a line a fact, nested facts indented."""
    lines: list[str] = []
    _append(lines, data, 0)
    return "\n".join(lines)


def _append(lines: list[str], data: dict[str, Any], depth: int) -> None:
    indent = "  " * depth
    for key, value in data.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{key}:" + ("" if value else " none"))
            _append(lines, value, depth + 1)
        elif isinstance(value, list):
            lines.append(f"{indent}{key}:" + ("" if value else " none"))
            lines.extend(f"{indent}  {_flat(item)}" for item in value)
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            lines.append(f"{indent}{key}: {shown}")


def _flat(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    head, *rest = item.items()
    return f"{head[1]}  " + "  ".join(f"{key} {_compact(value)}" for key, value in rest)


def _compact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} x{count}" for name, count in value.items())
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def as_text(data: dict[str, Any]) -> str:
    """The figures for people."""
    window = data["window"]
    lines = [
        f"wrote {data['output']}",
        f"measured {window['width']}x{window['height']} at {window['x']},{window['y']} of {data['picture']}, "
        f"{data['overexposed']:.1%} overexposed",
        f"{'offsets in pixels of the scale':<32}{'scale':>7}{'mean':>8}{'99 %':>8}{'max':>8}",
    ]
    for name, each in data["blocks"].items():
        figures = "".join(f"{each[key]:>8.2f}" for key in ("mean_abs", "p99", "max"))
        scale = f"x{1 / each['scale']:g}"
        lines.append(f"{name:<32}{scale:>7}{figures}")
    lines.append("taps (of 9 a block) that read pixels which are not overexposed")
    for pixel in data["pixels"]:
        lines.append(f"  {pixel['x']},{pixel['y']}: {' '.join(map(str, pixel['kept_taps'].values()))}")
    return "\n".join(lines)
