"""The networks of public checkpoints, operator by operator as their publications define them.

Each function takes a state dict and a picture (N, 3, H, W) in [0, 1] and gives what the layers give, before decoding.
No module of the package is used, but for the reduced picture that AGCM looks at, which has a test of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.models.colour_mapping import quarter


class Weights:
    """A state dict below a prefix, with the operators that read it."""

    def __init__(self, state: dict[str, Tensor], prefix: str = "") -> None:
        self.state, self.prefix = state, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self.state[self.prefix + name]

    def get(self, name: str) -> Tensor | None:
        return self.state.get(self.prefix + name)

    def has(self, name: str) -> bool:
        return any(key.startswith(self.prefix + name) for key in self.state)

    def below(self, name: str) -> Weights:
        return Weights(self.state, f"{self.prefix}{name}.")

    def conv(self, name: str, x: Tensor, stride: int = 1, dilation: int = 1, padding: int | None = None) -> Tensor:
        weight = self[f"{name}.weight"]
        groups = x.shape[1] // weight.shape[1]
        pad = dilation * (weight.shape[-1] // 2) if padding is None else padding
        return F.conv2d(x, weight, self.get(f"{name}.bias"), stride, pad, dilation, groups)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self[f"{name}.weight"], self[f"{name}.bias"])


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def expandnet(state: dict[str, Tensor], x: Tensor) -> Tensor:
    w = Weights(state)
    local = F.selu(w.conv("local_net.1.0", F.selu(w.conv("local_net.0.0", x))))
    middle = x
    for k in range(3):
        middle = F.selu(w.conv(f"mid_net.{k}.0", middle, dilation=2))
    middle = w.conv("mid_net.3", middle, dilation=2)
    whole = F.interpolate(x, size=(256, 256), mode="bilinear", align_corners=False)
    for k in range(6):
        whole = F.selu(w.conv(f"glob_net.{k}.0", whole, stride=2))
    whole = w.conv("glob_net.6", whole, padding=0)
    fused = torch.cat([local, middle, whole + torch.zeros_like(middle)], 1)
    return torch.sigmoid(w.conv("end_net.1", F.selu(w.conv("end_net.0.0", fused))))


def fhdr(state: dict[str, Tensor], x: Tensor, iterations: int = 2) -> Tensor:
    """In the order of channels of the public weights: RGB in [-1, 1] to BGR, of which RGB is given here."""
    w = Weights(state)
    first = F.relu(w.conv("feb1", F.pad(2 * x - 1, (1, 1, 1, 1), mode="reflect"), padding=0))
    features = F.relu(w.conv("feb2", first))
    block = w.below("feedback_block")
    last: dict[str, Tensor] = {}
    for _ in range(iterations):
        out = block.conv("compress_in", torch.cat([features, last.get("whole", features)], 1))
        for name in ("DRDB1", "DRDB2", "DRDB3"):
            dense = block.below(name)
            stack = dense.conv("compress", torch.cat([out, last.get(name, out)], 1))
            for k in range(4):
                stack = torch.cat([stack, F.relu(dense.conv(f"dense_layers.{k}.conv", stack, dilation=2))], 1)
            last[name] = out = dense.conv("conv_1x1", stack)
        last["whole"] = out = F.relu(block.conv("GFF_3x3", out))
    out = F.pad(F.relu(w.conv("hrb1", out + first)), (1, 1, 1, 1), mode="reflect")
    bgr = (torch.tanh(w.conv("hrb2", out, padding=0)) + 1) / 2
    return bgr[:, [2, 1, 0]]


def kunet(state: dict[str, Tensor], x: Tensor) -> Tensor:
    w = Weights(state)
    heads = w.has("restoration1")

    def trunk(k: int, x: Tensor) -> Tensor:
        b, results = w.below(f"recon_trunk{k}"), []
        out = x
        for _ in range({1: 4, 2: 6, 3: 4}[k]):
            inner = out
            for j in (0, 1):
                inner = inner + F.relu(b.conv(f"rdb.layer.{j}.conv.conv", inner))
            out = out + b.conv("rdb.conv1x1.conv", inner)
            results.append(out)
        out = b.conv("conv1x1.conv", torch.cat(results, 1))
        alpha = w.conv("alpha.1", w.conv("alpha.0", x))
        return out * alpha + w.conv("belta.1", w.conv("belta.0", x))

    def connection(k: int, above: Tensor, below: Tensor) -> Tensor:
        b = w.below(f"gammma{k}")
        clean = above + F.relu(b.conv("denosing.conv.conv", F.relu(b.conv("denosing.conv.conv", above))))
        mapped = F.relu(b.conv("tmo.1.conv", F.relu(b.conv("tmo.0.conv", clean))))
        return b.conv("refin", F.cosine_similarity(mapped, below, dim=1).unsqueeze(1) * above)

    full = F.relu(w.conv("HR_conv1", w.conv("conv_2", F.relu(w.conv("conv_first", x)))))
    half = trunk(1, F.relu(w.conv("down_conv1", full, stride=2)))
    quarter_size = F.relu(w.conv("down_conv2", half, stride=2))
    once = trunk(2, quarter_size)
    out = trunk(2, once) + (once if heads else 0)
    out = out + connection(3, quarter_size, out)
    out = F.relu(F.pixel_shuffle(w.conv("up_conv1.0", out), 2))
    out = trunk(3, out + connection(2, half, out))
    out = F.relu(F.pixel_shuffle(w.conv("up_conv2.0", out), 2))
    out = out + connection(1, full, out)
    return w.conv("conv_last", F.relu(w.conv("HR_conv2", w.conv("conv_2", out))))


def agcm(state: dict[str, Tensor], x: Tensor) -> Tensor:
    w = Weights(state)
    c = w.below("classifier.model")
    small = quarter(x)
    for k in (0, 4, 8, 12, 16):
        small = F.leaky_relu(F.avg_pool2d(c.conv(str(k), small), 3, 2, 1), 0.2)
        if k < 16:
            small = F.instance_norm(small, weight=c[f"{k + 3}.weight"], bias=c[f"{k + 3}.bias"])
    numbers = c.conv("20", small).mean((2, 3))
    out = x
    for layer, name in (("conv_first", "first"), ("HRconv", "HR"), ("conv_last", "last")):
        out = w.conv(layer, out)
        scale, shift = (w.linear(f"cond_{kind}_{name}", numbers)[..., None, None] for kind in ("scale", "shift"))
        out = out * scale + shift + out
        out = out if name == "last" else F.relu(out)
    return out


def hdrtvnet_le(state: dict[str, Tensor], x: Tensor) -> Tensor:
    w = Weights(state)
    out = F.relu(w.conv("conv_first", x, stride=2))
    k = 0
    while w.has(f"recon_trunk.{k}."):
        out = out + w.conv(f"recon_trunk.{k}.conv2", F.relu(w.conv(f"recon_trunk.{k}.conv1", out)))
        k += 1
    out = F.relu(F.pixel_shuffle(w.conv("upconv", out), 2))
    return w.conv("conv_last", F.relu(w.conv("HRconv", out)))


def hdrtvnet_hg(state: dict[str, Tensor], x: Tensor, sdr: Tensor) -> Tensor:
    w = Weights(state)

    def block(name: str, x: Tensor) -> Tensor:
        values = [w[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(w.conv(f"{name}.0", x), *values))

    def halved(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2)

    scales = [block("conv1", x)]
    scales.append(block("conv2", halved(scales[-1])))
    for k in (3, 4, 5):
        scales.append(block(f"conv{k}_2", halved(block(f"conv{k}_1", scales[-1]))))
    out = block("conv_code2", halved(block("conv_code1", scales[-1])))
    for k in (1, 2, 3, 4, 5):
        up = F.relu(F.pixel_shuffle(w.conv(f"Up_conv{k}.0", out), 2))
        out = w.conv(f"conv{k + 5}", torch.cat([up, scales[-k]], 1))
    mask = ((sdr.max(1, keepdim=True)[0] - 0.95) / 0.05).clamp(0, 1)
    return mask * w.conv("conv_last", torch.cat([out, x], 1)) + x


def hdrtvnet(parts: dict[str, dict[str, Tensor]], x: Tensor) -> Tensor:
    """HDRTVNet of its three files."""
    return hdrtvnet_hg(parts["hg"], hdrtvnet_le(parts["le"], agcm(parts["agcm"], x)), x)


def plus_le(state: dict[str, Tensor], x: Tensor) -> Tensor:
    w = Weights(state)

    def row(name: str, x: Tensor, strides: tuple[int, ...]) -> Tensor:
        for number, stride in enumerate(strides):
            x = w.conv(f"{name}.{2 * number}", leaky(x) if number or name != "cond_first" else x, stride)
        return x

    def sft(name: str, x: Tensor, y: Tensor) -> Tensor:
        b = w.below(name)
        scale, shift = (
            b.conv(f"SFT_{kind}_conv1", leaky(b.conv(f"SFT_{kind}_conv0", y))) for kind in ("scale", "shift")
        )
        return x * (scale + 1) + shift

    def blocks(number: int, x: Tensor, y: Tensor) -> Tensor:
        k = 0
        while w.has(f"recon_trunk{number}.{k}."):
            name = f"recon_trunk{number}.{k}"
            hidden = F.relu(w.conv(f"{name}.conv1", sft(f"{name}.sft1", x, y)))
            x = x + w.conv(f"{name}.conv2", sft(f"{name}.sft2", hidden, y))
            k += 1
        return x

    strides = {1: (1, 1, 1), 2: (2, 1, 1), 3: (2, 2, 1), 4: (2, 2, 2)}
    common = row("cond_first", x, (1, 1, 1))
    conditions = {k: row(f"CondNet{k}", common, each) for k, each in strides.items()}
    kept = [F.relu(w.conv("HR_conv1", sft("SFT_layer1", F.relu(w.conv("conv_first", x)), conditions[1])))]
    for k in (1, 2):
        kept.append(blocks(k, F.relu(w.conv(f"down_conv{k}", kept[-1], 2)), conditions[k + 1]))
    small = F.relu(w.conv("down_conv3", kept[-1], 2))
    out = blocks(3, small, conditions[4]) + small
    for k in (1, 2, 3):
        out = F.relu(F.pixel_shuffle(w.conv(f"up_conv{k}.0", out), 2)) + kept[-k]
        out = blocks(k + 3, out, conditions[4 - k]) if k < 3 else sft("SFT_layer2", out, conditions[1])
    return x + w.conv("conv_last", F.relu(w.conv("HR_conv2", out)))


def ensemble(state: dict[str, Tensor], x: Tensor) -> Tensor:
    parts = {
        part: {name.partition(".")[2]: tensor for name, tensor in state.items() if name.startswith(part)}
        for part in ("AGCM", "LE")
    }
    return plus_le(parts["LE"], agcm(parts["AGCM"], x))


def modulated(w: Weights, x: Tensor, numbers: Tensor) -> Tensor:
    k = 1
    while w.has(f"conv{k}."):
        x = w.conv(f"conv{k}", x)
        scale, shift = (w.linear(f"cond_{kind}{k}", numbers)[..., None, None] for kind in ("scale", "shift"))
        x = leaky(x * scale + shift + x)
        k += 1
    return x


def restormer(w: Weights, x: Tensor) -> Tensor:
    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        gain, shift = (w[f"{name}.body.{part}"].reshape(1, -1, 1, 1) for part in ("weight", "bias"))
        return (x - mean) / torch.sqrt(variance + 1e-5) * gain + shift

    def block(name: str, x: Tensor) -> Tensor:
        temperature = w[f"{name}.attn.temperature"]
        qkv = w.conv(f"{name}.attn.qkv_dwconv", w.conv(f"{name}.attn.qkv", norm(f"{name}.norm1", x)))
        batch, width, height, across = x.shape
        q, k, v = (part.reshape(batch, len(temperature), -1, height * across) for part in qkv.split(width, 1))
        q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
        attention = torch.softmax(torch.einsum("nhap,nhbp->nhab", q, k) * temperature, -1)
        mixed = torch.einsum("nhab,nhbp->nhap", attention, v).reshape(x.shape)
        x = x + w.conv(f"{name}.attn.project_out", mixed)
        hidden = w.conv(f"{name}.ffn.dwconv", w.conv(f"{name}.ffn.project_in", norm(f"{name}.norm2", x)))
        first, second = hidden.chunk(2, 1)
        return x + w.conv(f"{name}.ffn.project_out", F.gelu(first) * second)

    full = block("encoder_level1.0", w.conv("patch_embed.proj", x))
    half = block("encoder_level2.0", F.pixel_unshuffle(w.conv("down1_2.body.0", full), 2))
    out = block("latent.0", F.pixel_unshuffle(w.conv("down2_3.body.0", half), 2))
    out = torch.cat([F.pixel_shuffle(w.conv("up3_2.body.0", out), 2), half], 1)
    out = block("decoder_level2.0", w.conv("reduce_chan_level2", out))
    out = torch.cat([F.pixel_shuffle(w.conv("up2_1.body.0", out), 2), full], 1)
    return w.conv("output", block("decoder_level1.0", out))


def _lsn(state: dict[str, Tensor], x: Tensor, bright: Tensor, dark: Tensor) -> Tensor:
    w = Weights(state)
    c, small = w.below("mid_branch.cond_net"), F.avg_pool2d(x, 8)
    for name in ("conv1", "conv2", "conv3"):
        small = leaky(c.conv(name, small, stride=2))
    middle = modulated(w.below("mid_branch"), x, small.mean((2, 3)))
    return middle + restormer(w.below("bright_branch"), bright) + restormer(w.below("dark_branch"), dark)


def lsn_2023(state: dict[str, Tensor], x: Tensor) -> Tensor:
    return _lsn(state, x, ((x - 0.95) / 0.05).clamp(0, 1), ((x - 0.05) / -0.05).clamp(0, 1))


def lsn_2024(state: dict[str, Tensor], x: Tensor) -> Tensor:
    luminance = 0.2627 * x[:, :1] + 0.6780 * x[:, 1:2] + 0.0593 * x[:, 2:]
    bright, dark = (luminance / 0.7611).clamp(0, 1), ((luminance - 1) / (0.7611 - 1)).clamp(0, 1)
    return _lsn(state, x, x * bright, x * dark)


def lhdr(state: dict[str, Tensor], x: Tensor) -> Tensor:
    w = Weights(state)
    # OpenCV's bilinear resizing to a quarter: the mean of the four pixels in the middle of each block.
    small = (x[..., 1::4, 1::4] + x[..., 1::4, 2::4] + x[..., 2::4, 1::4] + x[..., 2::4, 2::4]) / 4
    c = w.below("mlp.cond_net")
    parts = leaky(c.conv("conv1", small, stride=2)).chunk(4, 1)
    several = torch.cat([c.conv(f"conv2.conv_group_{k}", part) for k, part in enumerate(parts, 1)], 1)
    numbers = leaky(c.conv("conv3", leaky(several), stride=2)).mean((2, 3))
    picture = modulated(w.below("mlp"), x, numbers)

    m = w.below("msnet")
    sums = [leaky(m.conv("decompose.conv_h", picture))]
    for k in (1, 2, 3, 4):
        sums.append(leaky(m.conv(f"local_branch.conv_{k}", torch.stack(sums).sum(0))))
    detail = leaky(m.conv("conv0", m.conv("local_branch.conv_5", torch.stack(sums).sum(0)) + sums[0]))

    bright = ((x - 0.9) / 0.1).clamp(0, 1)
    base = _masked_unet(m.below("global_branch"), leaky(m.conv("decompose.conv_l", picture, stride=2)), bright)
    return F.relu(leaky(F.pixel_shuffle(m.conv("upconv0.0", base), 2)) + detail)


def _masked_unet(g: Weights, start: Tensor, bright: Tensor) -> Tensor:
    def partial(name: str, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = g[f"{name}.weight"], g[f"{name}.bias"].reshape(1, -1, 1, 1)
        channels = len(weight)
        covered = F.conv2d(mask, torch.ones(channels, channels, 3, 3), padding=1)
        new = covered.clamp(0, 1)
        ratio = 9 * channels / (covered + 1e-8) * new
        raw = F.conv2d(x * mask, weight, g[f"{name}.bias"], padding=1, groups=channels // weight.shape[1])
        return ((raw - bias) * ratio + bias) * new, new

    def masked(name: str, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        out, mask = partial(f"{name}.pconv_1", x, mask)
        out, mask = partial(f"{name}.pconv_2", leaky(out), mask)
        return x + leaky(out), mask

    def sft(name: str, x: Tensor, y: Tensor) -> Tensor:
        b = g.below(name)
        scale, shift = (
            b.conv(f"SFT_{kind}_conv2", leaky(b.conv(f"SFT_{kind}_conv1", y))) for kind in ("scale", "shift")
        )
        return x * (scale + 1) + shift

    def steered(name: str, x: Tensor, y: Tensor) -> Tensor:
        out = leaky(g.conv(f"{name}.conv1", sft(f"{name}.sft1", x, y)))
        return x + leaky(g.conv(f"{name}.conv2", sft(f"{name}.sft2", out, y)))

    common = leaky(g.conv("cond_com.2", leaky(g.conv("cond_com.0", bright))))
    half = g.conv("cond_1e.2", leaky(g.conv("cond_1e.0", common, stride=2)))
    quarter_size = g.conv("cond_2.2", leaky(g.conv("cond_2.0", common, stride=2)), stride=2)
    mask = F.avg_pool2d(g.conv("mask_est_pconv.1", ((bright - 1) / -0.1).clamp(0, 1)), 3, 2, 1)
    full = start
    for k in (0, 1):
        full, mask = masked(f"recon_trunk_f.{k}", full, mask)
    small = out = leaky(g.conv("down_conv", full, stride=2))
    mask = F.avg_pool2d(mask, 3, 2, 1)
    for k in (0, 1):
        out, mask = masked(f"recon_trunk_mp.{k}", out, mask)
    for k in (0, 1):
        out = steered(f"recon_trunk_ms.{k}", out, quarter_size)
    out = leaky(F.pixel_shuffle(g.conv("up_conv.0", out + small), 2))
    for k in (0, 1):
        out = steered(f"recon_trunk_e.{k}", out, half)
    return out + full + start
