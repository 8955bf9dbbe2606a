"""Steerable pyramid filters of third order, four orientations ("sp3").

The numbers are those of the design by A. Karasaridis and E. Simoncelli, "A filter design technique for steerable
pyramid image transforms" (ICASSP 1996), as their authors publish them. Every filter is symmetric, so only the numbers
that differ are listed, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HIGH_PASS = """
    -0.000404839986 -0.00062596000498 -0.00032734998967 -3.7829999201e-05 0.00077435001731 0.0011793200392
    0.00088387000142 0.0015874400269 0.0014050999889 0.0012960999738 0.0015450799838 0.0021750701126
    0.0022253401112 -0.00049274001503 -0.0063222697936 0.0019235999789 0.0025626500137 0.0021145299543
    -0.0031295299996 -0.0027556000277 0.013962360099 0.0020687500946 0.0022892199922 0.00033578000148
    -0.0045751798898 0.0053632198833 0.0078046298586 -0.079501636326 0.0020898699295 0.0019755100366
    -0.00083368999185 -0.0051014497876 0.0073032598011 -0.0093812197447 -0.1554141641 0.7303866148
"""

_FIRST_LOW_PASS = """
    -8.7009997515e-05 -0.0013542800443 0.0029215801042 -0.001601260039 0.0075227199122 -0.007061290089
    -0.00050337001448 0.0082244202495 -0.037694871426 0.043813198805 0.0025240099058 0.0011076199589
    -0.032971370965 0.181160301 0.4376249909
"""

_LOW_PASS = """
    -4.3500000174e-05 0.00012078000145 0.00044606000301 -0.00067714002216 -0.00058146001538 0.0014607800404
    -0.00012434000382 0.00056215998484 0.0021605400834 0.0031757799443 -0.00080063997302 -0.00013688000035
    0.0037613599561 0.0031846798956 -0.0035306399222 -0.0015970399836 0.0023255399428 0.0030809799209
    -0.0017774800071 -0.012604200281 -0.020229380578 -0.00025168000138 0.0028898599558 0.0041121998802
    -0.0074316998944 -0.018847439438 -0.011091699824 0.021906599402 -0.00042019999819 0.0042872801423
    0.0022212199401 -0.0090569201857 -0.017508180812 0.0039556599222 0.068065837026 0.1445499808 0.001261999947
    0.0055893999524 0.00055381999118 -0.0096372198313 -0.016485679895 0.014385120012 0.090580143034 0.1773651242
    0.2120374441
"""

_UPRIGHT = """
    -0.00081125000725 0.0044451598078 0.012316980399 0.013955879956 0.01417945046 0.0039103501476 0.004456540104
    -0.0058724298142 -0.0028760801069 0.0085267601535 0.0013462699717 -0.0037740699481 0.0082581602037
    0.039442278445 0.053605638444 0.00074700999539 -0.00036522001028 -0.022522680461 -0.1105690673 -0.1768419296
"""

_DIAGONAL = """
    -0.00082846998703 -5.7109999034e-05 4.0110000555e-05 0.0046670897864 0.0080871898681 0.014807609841
    0.0086204400286 -0.0031221499667 -0.00097479997203 -0.0069718998857 -0.002086560009 0.002329879906
    -0.0044814897701 0.014917500317 -0.012145539746 -0.024427289143 0.050797060132 0.032785870135 -0.1510555595
    -0.082495503128
"""

Kernel = NDArray[np.float64]


@dataclass(frozen=True)
class SteerableFilters:
    """Kernels of a steerable pyramid, to be applied as correlations.

    Attributes:
        high_pass: (15, 15), gives the residual above the first level.
        first_low_pass: (9, 9), gives what the first level is made of.
        low_pass: (17, 17), before every halving; sums to 2.
        oriented: four of (9, 9), odd about their centre.
    """

    high_pass: Kernel
    first_low_pass: Kernel
    low_pass: Kernel
    oriented: tuple[Kernel, ...]


def sp3_filters() -> SteerableFilters:
    """The filters, in the order of orientations of the published ones."""
    upright, diagonal = _odd_rows(_UPRIGHT, size=9), _odd_diagonal(_DIAGONAL, size=9)
    return SteerableFilters(
        high_pass=_square(_HIGH_PASS, size=15),
        first_low_pass=_square(_FIRST_LOW_PASS, size=9),
        low_pass=_square(_LOW_PASS, size=17),
        oriented=(upright.T, diagonal.T, -upright, -diagonal[:, ::-1].T),
    )


def _square(listed: str, size: int) -> Kernel:
    """A kernel with the symmetry of a square; listed is the triangle below the diagonal of its first quadrant."""
    half = size // 2 + 1
    below = np.zeros((half, half))
    below[np.tril_indices(half)] = _numbers(listed)
    quadrant = below + np.tril(below, -1).T
    top = np.hstack([quadrant, quadrant[:, -2::-1]])
    return np.vstack([top, top[-2::-1]])


def _odd_rows(listed: str, size: int) -> Kernel:
    """A kernel whose columns are even and whose rows are odd about the centre; listed is its first quadrant."""
    quadrant = np.array(_numbers(listed)).reshape(size // 2, size // 2 + 1)
    top = np.hstack([quadrant, quadrant[:, -2::-1]])
    return np.vstack([top, np.zeros((1, size)), -top[::-1]])


def _odd_diagonal(listed: str, size: int) -> Kernel:
    """A kernel odd about its main diagonal and even about the other; listed is the triangle between and above both."""
    numbers = iter(_numbers(listed))
    above = np.zeros((size, size))
    for i in range(size // 2):
        for j in range(i + 1, size - i):
            above[i, j] = above[size - 1 - j, size - 1 - i] = next(numbers)
    return above - above.T


def _numbers(listed: str) -> list[float]:
    return [float(number) for number in listed.split()]
