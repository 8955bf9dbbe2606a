"""Names and shapes of the tensors in public checkpoints, written down as their authors' files have them.

Nothing of the package is used here: a layout is what a file must look like to be recognised.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

Layout = dict[str, tuple[int, ...]]


def conv(name: str, before: int, after: int, size: int = 3, *, bias: bool = True) -> Layout:
    return {f"{name}.weight": (after, before, size, size), **({f"{name}.bias": (after,)} if bias else {})}


def linear(name: str, before: int, after: int) -> Layout:
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def scaled(name: str, channels: int) -> Layout:
    """A gain and a shift a channel."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def merged(*layouts: Layout) -> Layout:
    return {name: shape for layout in layouts for name, shape in layout.items()}


def each(names: Iterable[str], before: int, after: int, size: int = 3) -> Layout:
    return merged(*(conv(name, before, after, size) for name in names))


def under(prefix: str, layout: Layout) -> Layout:
    return {f"{prefix}.{name}": shape for name, shape in layout.items()}


def fhdr(n: int = 64, growth: int = 32) -> Layout:
    blocks = [
        merged(
            conv("compress", 2 * n, n, 1),
            *(conv(f"dense_layers.{k}.conv", n + k * growth, growth, bias=False) for k in range(4)),
            conv("conv_1x1", n + 4 * growth, n, 1, bias=False),
        )
    ] * 3
    feedback = merged(
        conv("compress_in", 2 * n, n, 1),
        *(under(f"DRDB{k}", block) for k, block in enumerate(blocks, 1)),
        conv("GFF_3x3", n, n),
    )
    return merged(conv("feb1", 3, n), conv("feb2", n, n), under("feedback_block", feedback), conv("hrb1", n, n)) | conv(
        "hrb2", n, 3
    )


def kunet(n: int = 64, *, heads: bool = False) -> Layout:
    layout = conv("conv_first", 3, n) | conv("conv_last", n, 3)
    layout |= each(("conv_2", "HR_conv1", "HR_conv2", "down_conv1", "down_conv2"), n, n)
    layout |= each(("up_conv1.0", "up_conv2.0"), n, 4 * n)
    layout |= each(("alpha.0", "alpha.1", "belta.0", "belta.1"), n, n, 3 if heads else 1)
    for k, runs in enumerate((4, 6, 4), 1):
        layout |= each((f"recon_trunk{k}.rdb.layer.{j}.conv.conv" for j in (0, 1)), n, n)
        layout |= conv(f"recon_trunk{k}.rdb.conv1x1.conv", n, n, 1)
        layout |= conv(f"recon_trunk{k}.conv1x1.conv", runs * n, n, 1)
        layout |= each((f"gammma{k}.{name}.conv" for name in ("tmo.0", "tmo.1", "denosing.conv")), n, n)
        layout |= conv(f"gammma{k}.refin", n, n, 1)
    if heads:
        layout |= each(("up_KIB1.0", "up_KIB2.0", "up_KIB2.2", "up_KIB3.0", "up_KIB3.2", "up_KIB4.0"), n, 4 * n)
        layout |= each((f"restoration{k}" for k in (1, 2, 3, 4)), n, 3)
    return layout


def agcm(n: int = 64, numbers: int = 6, first: int = 16) -> Layout:
    """AGCM, the same in HDRTVNet and HDRTVNet++."""
    widths = [3, first, 2 * first, 4 * first, 8 * first, 8 * first]
    classifier = merged(
        *(conv(f"model.{4 * k}", widths[k], widths[k + 1], 1) for k in range(5)),
        *(scaled(f"model.{4 * k + 3}", widths[k + 1]) for k in range(4)),
        conv("model.20", widths[-1], numbers, 1),
    )
    steered = [("first", n), ("HR", n), ("last", 3)]
    return merged(
        under("classifier", classifier),
        *(linear(f"cond_{kind}_{name}", numbers, width) for kind in ("scale", "shift") for name, width in steered),
        conv("conv_first", 3, n, 1),
        conv("HRconv", n, n, 1),
        conv("conv_last", n, 3, 1),
    )


def hdrtvnet_le(n: int = 64, blocks: int = 16) -> Layout:
    trunk = each((f"recon_trunk.{k}.conv{j}" for k in range(blocks) for j in (1, 2)), n, n)
    return conv("conv_first", 3, n) | trunk | conv("upconv", n, 4 * n) | conv("HRconv", n, n) | conv("conv_last", n, 3)


def hdrtvnet_hg(n: int = 64) -> Layout:
    down = [("conv1", 3, 1), ("conv2", 1, 2), ("conv3_1", 2, 4), ("conv3_2", 4, 4), ("conv4_1", 4, 8)]
    down += [(name, 8, 8) for name in ("conv4_2", "conv5_1", "conv5_2", "conv_code1", "conv_code2")]
    layout: Layout = {}
    for name, before, after in down:
        layout |= conv(f"{name}.0", before if before == 3 and name == "conv1" else before * n, after * n)
        layout |= scaled(f"{name}.1", after * n)
        layout |= {f"{name}.1.running_mean": (after * n,), f"{name}.1.running_var": (after * n,)}
        layout |= {f"{name}.1.num_batches_tracked": ()}
    ups = [(8, 8), (8, 4), (4, 2), (2, 1)]
    for k, (width, after) in enumerate(ups, 1):
        layout |= conv(f"Up_conv{k}.0", width * n, 4 * width * n) | conv(f"conv{k + 5}", 2 * width * n, after * n, 1)
    layout |= conv("Up_conv5.0", n, 4 * n) | conv("conv10", 2 * n, 3, 1)
    return layout | conv("conv_last", 6, 3, 1)


def point_sft(name: str, maps: int, n: int) -> Layout:
    names = [f"{name}.SFT_{kind}_conv" for kind in ("scale", "shift")]
    return merged(*(conv(f"{each}0", maps, maps, 1) | conv(f"{each}1", maps, n, 1) for each in names))


def plus_le(n: int = 32, hidden: int = 64) -> Layout:
    maps = n // 2
    layout = conv("conv_first", 3, n) | conv("conv_last", n, 3)
    layout |= each(("HR_conv1", "HR_conv2", "down_conv1", "down_conv2", "down_conv3"), n, n)
    layout |= each(("up_conv1.0", "up_conv2.0", "up_conv3.0"), n, 4 * n)
    layout |= point_sft("SFT_layer1", maps, n) | point_sft("SFT_layer2", maps, n)
    for row, count in enumerate((1, 1, 4, 1, 1), 1):
        for k in range(count):
            block = f"recon_trunk{row}.{k}"
            layout |= each((f"{block}.conv1", f"{block}.conv2"), n, n)
            layout |= point_sft(f"{block}.sft1", maps, n) | point_sft(f"{block}.sft2", maps, n)
    layout |= conv("cond_first.0", 3, hidden) | each(("cond_first.2", "cond_first.4"), hidden, hidden, 1)
    for k, sizes in enumerate(((1, 1, 1), (3, 1, 1), (3, 3, 1), (3, 3, 3)), 1):
        for layer, size in zip((0, 2, 4), sizes, strict=True):
            layout |= conv(f"CondNet{k}.{layer}", hidden, maps if layer == 4 else hidden, size)
    return layout


def ensemble() -> Layout:
    return under("AGCM", agcm()) | under("LE", plus_le())


def modulated(name: str, widths: tuple[int, ...], numbers: int) -> Layout:
    layout: Layout = {}
    for k, (before, after) in enumerate(itertools.pairwise(widths), 1):
        layout |= conv(f"{name}.conv{k}", before, after, 1)
        layout |= linear(f"{name}.cond_scale{k}", numbers, after) | linear(f"{name}.cond_shift{k}", numbers, after)
    return layout


def restormer(n: int, feed_forward: float) -> Layout:
    layout = conv("patch_embed.proj", 3, n, bias=False)
    places = {"encoder_level1": (n, 1), "encoder_level2": (2 * n, 2), "latent": (4 * n, 4)}
    places |= {"decoder_level2": (2 * n, 2), "decoder_level1": (2 * n, 1)}
    for place, (width, heads) in places.items():
        hidden, block = int(width * feed_forward), f"{place}.0"
        layout |= scaled(f"{block}.norm1.body", width) | scaled(f"{block}.norm2.body", width)
        layout |= {f"{block}.attn.temperature": (heads, 1, 1)}
        layout |= conv(f"{block}.attn.qkv", width, 3 * width, 1, bias=False)
        layout |= conv(f"{block}.attn.qkv_dwconv", 1, 3 * width, bias=False)
        layout |= conv(f"{block}.attn.project_out", width, width, 1, bias=False)
        layout |= conv(f"{block}.ffn.project_in", width, 2 * hidden, 1, bias=False)
        layout |= conv(f"{block}.ffn.dwconv", 1, 2 * hidden, bias=False)
        layout |= conv(f"{block}.ffn.project_out", hidden, width, 1, bias=False)
    resampled = {"down1_2": (n, n // 2), "down2_3": (2 * n, n), "up3_2": (4 * n, 8 * n), "up2_1": (2 * n, 4 * n)}
    for name, (before, after) in resampled.items():
        layout |= conv(f"{name}.body.0", before, after, bias=False)
    return layout | conv("reduce_chan_level2", 4 * n, 2 * n, 1, bias=False) | conv("output", 2 * n, 3, bias=False)


def lsn(feed_forward: float, n: int = 32) -> Layout:
    """LSN: feed-forward layers of half the width in the form of 2023, of twice the width in that of 2024."""
    condition = conv("conv1", 3, n // 2) | conv("conv2", n // 8, n // 2) | conv("conv3", n // 2, n)
    return merged(
        modulated("mid_branch", (3, n, 2 * n, 2 * n, n, 3), n),
        under("mid_branch.cond_net", condition),
        *(under(f"{name}_branch", restormer(n // 2, feed_forward)) for name in ("bright", "dark")),
    )


def expandnet(n: int = 64) -> Layout:
    return merged(
        conv("local_net.0.0", 3, n),
        conv("local_net.1.0", n, 2 * n),
        *(conv(f"mid_net.{k}.0", n if k else 3, n) for k in range(3)),
        conv("mid_net.3", n, n),
        *(conv(f"glob_net.{k}.0", n if k else 3, n) for k in range(6)),
        conv("glob_net.6", n, n, 4),
        conv("end_net.0.0", 4 * n, n, 1),
        conv("end_net.1", n, 3, 1),
    )


def lhdr(n: int = 32) -> Layout:
    condition = conv("conv1", 3, n // 2) | conv("conv3", n // 2, n)
    condition |= merged(*(conv(f"conv2.conv_group_{k}", n // 8, n // 8, 2 * k - 1) for k in (1, 2, 3, 4)))
    net = conv("mask_est_pconv.1", 3, n, 1) | conv("down_conv", n, n) | conv("up_conv.0", n, 4 * n)
    for block in (f"{trunk}.{k}" for trunk in ("recon_trunk_f", "recon_trunk_mp") for k in (0, 1)):
        net |= conv(f"{block}.pconv_1", n // 4, n) | conv(f"{block}.pconv_2", n, n)
    for block in (f"{trunk}.{k}" for trunk in ("recon_trunk_ms", "recon_trunk_e") for k in (0, 1)):
        net |= conv(f"{block}.conv1", n // 4, n) | conv(f"{block}.conv2", n, n)
        kinds = [f"SFT_{kind}_conv{layer}" for kind in ("scale", "shift") for layer in (1, 2)]
        net |= each((f"{block}.{sft}.{kind}" for sft in ("sft1", "sft2") for kind in kinds), n, n, 1)
    net |= conv("cond_com.0", 3, n) | conv("cond_com.2", n // 4, n)
    net |= conv("cond_1e.0", n // 4, n) | conv("cond_1e.2", n, n)
    net |= conv("cond_2.0", n // 4, n) | conv("cond_2.2", n, n)
    return merged(
        modulated("mlp", (3, n, 2 * n, n, 3), n),
        under("mlp.cond_net", condition),
        conv("msnet.decompose.conv_h", 3, n),
        conv("msnet.decompose.conv_l", 3, n),
        each((f"msnet.local_branch.conv_{k}" for k in range(1, 6)), n, n),
        conv("msnet.conv0", n, 3),
        under("msnet.global_branch", net),
        conv("msnet.upconv0.0", n, 12),
    )


def count(layout: Layout) -> int:
    """Trainable values."""
    kept = ("running_mean", "running_var", "num_batches_tracked")
    return sum(math.prod(shape) for name, shape in layout.items() if not name.endswith(kept))


def random_weights(layout: Layout, seed: int = 0) -> dict[str, Tensor]:
    """Weights of a layout, such that values stay in a usual range on their way."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in layout.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
            continue
        values = torch.randn(shape, generator=generator)
        if name.endswith("running_var") or name.endswith("temperature"):
            values = 0.5 + values.abs()
        elif len(shape) == 1 and name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values = values * (0.1 if len(shape) == 1 else 0.5 / math.prod(shape[1:]) ** 0.5)
        weights[name] = values
    return weights
