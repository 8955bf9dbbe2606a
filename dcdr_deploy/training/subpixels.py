"""Evening out pixel shuffles: no grid in areas where nothing but light is left.

A pixel shuffle lays four channels beside each other as the four sub-pixels of one. Where they answer flat features
differently, a fine grid of two pixels' period appears, and two shuffles make four; in clipped skies nothing hides it.
Resize convolutions and special starts keep training away from this (Odena et al., "Deconvolution and Checkerboard
Artifacts", 2016; Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017); this mends trained weights.
"""

from __future__ import annotations

import torch
from torch import nn

from dcdr_deploy.models import HdrNetwork

SUBPIXELS = 4


def even_out(network: HdrNetwork) -> None:
    """Make all shuffles of a network answer flat features with flat features, in place."""
    for convolution in network.upsamplers():
        even_out_convolution(convolution)


@torch.no_grad()
def even_out_convolution(convolution: nn.Conv2d) -> None:
    """Give the four sub-pixels of every channel the same sum of weights, for each input channel, and the same bias.

    The sums become their mean, by the same amount on every tap: the nearest weights that do so. What distinguishes the
    sub-pixels beside edges, their first moments and higher, stays.

    Args:
        convolution: before a pixel shuffle by 2, weights (4 C, I, k, k).
    """
    weight = convolution.weight
    grouped = weight.unflatten(0, (-1, SUBPIXELS))
    sums = grouped.sum(dim=(-2, -1), keepdim=True)
    taps = weight.shape[-2] * weight.shape[-1]
    weight.copy_((grouped - (sums - sums.mean(dim=1, keepdim=True)) / taps).flatten(0, 1))
    if convolution.bias is not None:
        biases = convolution.bias.unflatten(0, (-1, SUBPIXELS))
        convolution.bias.copy_(biases.mean(dim=1, keepdim=True).expand_as(biases).flatten(0, 1))
