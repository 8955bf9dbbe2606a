// What the kernels of a deformable convolution of 64 channels in FP16 have in common: sampling, gathering, multiplying.
//
// A deformable convolution is an implicit matrix product of 9 taps x 64 channels. The four neighbours of every tap are
// blended directly in the registers that mma.sync reads its A fragment from: no column buffer, no barrier. What bounds
// it is the bandwidth of L1 and shared memory, so all accesses to features are 16 bytes wide, and eight lanes of a
// request touch all banks: a request for the same half line of eight pixels takes twice as long.
//
// Coordinates are FP32 everywhere, and they are clamped before they become integers: offsets of any size, infinite ones
// and NaN included, read inside the picture.
//
// Compiled by NVRTC for SM75 and up. Compiled by a host compiler, whoever does so supplies a <cuda_fp16.h> of their own
// with the few CUDA features used here.
#pragma once
#include "tensor_cores.cuh"

#ifdef __CUDA_ARCH__
#if KERNEL_SM >= 80
// Copies 16 bytes to shared memory in the background, or writes zeros there where the source does not count.
__device__ __forceinline__ void copy_async(uint4* target, const half* source, bool counts) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(target)),
               "l"(source), "r"(counts ? 16 : 0)
               : "memory");
}
// Waits for the thread's own copies.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#endif
__device__ __forceinline__ void prefetch(const half* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
// Written as one instruction, or the compiler turns a choice between two values into branches around narrow stores.
__device__ __forceinline__ void store16(half* p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
#endif

constexpr int CHANNELS = 64;
constexpr int TAPS = 9;

// ---- Sampling, common to both precisions ---------------------------------------------------------------------------

// The four neighbours of a sampling position: the pixel at the upper left, how far to the right and down the others
// are, and their bilinear weights. Neighbours outside the picture are moved to its border and weigh nothing.
struct Corners {
  int pixel;        // index of the upper left neighbour
  int right, down;  // 0 or 1
  float weight[4];  // upper left, upper right, lower left, lower right
};

__device__ __forceinline__ Corners sample_at(float y, float x, int height, int width) {
  // fmaxf and fminf return the number where the other argument is NaN: a NaN ends at -2, outside.
  const float fy = fminf(fmaxf(y, -2.f), height + 1.f), fx = fminf(fmaxf(x, -2.f), width + 1.f);
  const int iy = __float2int_rd(fy), ix = __float2int_rd(fx);
  const float ay = fy - iy, ax = fx - ix;
  const float upper = (unsigned)iy < (unsigned)height ? 1.f - ay : 0.f;
  const float lower = (unsigned)(iy + 1) < (unsigned)height ? ay : 0.f;
  const float left = (unsigned)ix < (unsigned)width ? 1.f - ax : 0.f;
  const float right = (unsigned)(ix + 1) < (unsigned)width ? ax : 0.f;
  const int y0 = min(max(iy, 0), height - 1), y1 = min(max(iy + 1, 0), height - 1);
  const int x0 = min(max(ix, 0), width - 1), x1 = min(max(ix + 1, 0), width - 1);
  return {y0 * width + x0, x1 - x0, y1 - y0, {upper * left, upper * right, lower * left, lower * right}};
}

// ---- FP16, NHWC ----------------------------------------------------------------------------------------------------
//
// A warp computes 4 x 8 output pixels (two m16 tiles) by 64 output channels, a block 16 rows of as many columns as it
// has warps for. Of an m16 tile lane 4 g + q has the rows g and g + 8 and owns their channels 8q ... 8q+7 and
// 32+8q ... 32+8q+7: the permutation of input and output channels that makes this right is in the packed weights.

constexpr int M_TILES = 2;
constexpr int WARP_ROWS = 2 * M_TILES, WARP_COLUMNS = 8;
constexpr int WARPS_DOWN = 4;
constexpr int BLOCK_ROWS = WARPS_DOWN * WARP_ROWS;
constexpr int TAP_VECTORS = CHANNELS * CHANNELS / 8;  // a tap's weights in uint4: [4 steps][4 tile pairs][32 lanes]

// The sums of a warp's pixels. Of tile m, output channels n, a lane has in 0 and 1 row g, in 2 and 3 row g + 8, of the
// two channels 32 * (n / 4) + 8 q + 2 * (n % 4) and the next.
typedef float Sums[M_TILES][8][4];

// 128-bit accesses have to be written as uint4: a struct of half2 is copied member by member.
struct Half8 {
  uint32_t pair[4];
};
__device__ __forceinline__ Half8 load8(const half* p) {
  const uint4 v = __ldg(reinterpret_cast<const uint4*>(p));
  return {{v.x, v.y, v.z, v.w}};
}
__device__ __forceinline__ void store8(half* p, const Half8& v) {
  store16(p, v.pair[0], v.pair[1], v.pair[2], v.pair[3]);
}
__device__ __forceinline__ Half8 pick(bool second, const Half8& a, const Half8& b) {
  return {{second ? b.pair[0] : a.pair[0], second ? b.pair[1] : a.pair[1], second ? b.pair[2] : a.pair[2],
           second ? b.pair[3] : a.pair[3]}};
}
// Where a warp works: row g of its tile m is column g of the picture's row 2m, row g + 8 of row 2m + 1, both from `top`
// and `left`.
struct Warp {
  int image, top, left, lane;

  // The pixel whose sampling positions the lane works out.
  __device__ __forceinline__ int own_y() const { return top + (lane >> 3); }
  __device__ __forceinline__ int own_x() const { return left + (lane & 7); }
};

// The tiles of a picture, 16 rows high; a block takes one after the other. There are fewer than 2^31 pixels.
template <int THREADS> struct Tiles {
  static constexpr int ACROSS = THREADS / 32 / WARPS_DOWN, COLUMNS = ACROSS * WARP_COLUMNS;
  int columns, per_image, count;
  __device__ __forceinline__ Tiles(int batch, int height, int width)
      : columns((width + COLUMNS - 1) / COLUMNS), per_image(columns * ((height + BLOCK_ROWS - 1) / BLOCK_ROWS)),
        count(per_image * batch) {}
  __device__ __forceinline__ Warp at(int tile, int thread) const {
    const int warp = thread >> 5, place = tile % per_image;
    return {tile / per_image, place / columns * BLOCK_ROWS + warp / ACROSS * WARP_ROWS,
            place % columns * COLUMNS + warp % ACROSS * WARP_COLUMNS, thread & 31};
  }
};

#include "deform_products.cuh"

// What a lane knows of a sampling position, to be handed round by shuffles. The weights are not negative: their sign
// bits carry whether the right and the lower neighbours are others.
struct Packed {
  int pixel;
  uint32_t upper, lower;
};
__device__ __forceinline__ Packed pack(const Corners& c) {
  const uint32_t upper = bits(__floats2half2_rn(c.weight[0], c.weight[1]));
  return {c.pixel, upper | (uint32_t)c.right << 15 | (uint32_t)c.down << 31,
          bits(__floats2half2_rn(c.weight[2], c.weight[3]))};
}

// A sampling position of another lane; places in units of eight channels, so that an address is one multiply-add.
struct Sample {
  uint32_t corner, right, down;
  half2 weight[4];
};
__device__ __forceinline__ Sample take(const Packed& own, int from, uint32_t first, int width) {
  const int pixel = __shfl_sync(~0u, own.pixel, from);
  const uint32_t upper = __shfl_sync(~0u, own.upper, from);
  const half2 low = halves(__shfl_sync(~0u, own.lower, from)), up = halves(upper & 0x7fff7fff);
  constexpr uint32_t STEP = CHANNELS / 8;
  return {(uint32_t)pixel * STEP + first, (upper >> 15 & 1) * STEP, (upper >> 31) * (uint32_t)width * STEP,
          {__low2half2(up), __high2half2(up), __low2half2(low), __high2half2(low)}};
}
__device__ __forceinline__ Half8 load_at(const uint4* base, uint32_t at) {
  const uint4 v = __ldg(base + at);
  return {{v.x, v.y, v.z, v.w}};
}
__device__ __forceinline__ Half8 blend(const Half8 (&v)[4], const half2 (&weight)[4]) {
  Half8 result;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    half2 sum = __hmul2(halves(v[0].pair[k]), weight[0]);
#pragma unroll
    for (int c = 1; c < 4; ++c) sum = __hfma2(halves(v[c].pair[k]), weight[c], sum);
    result.pair[k] = bits(sum);
  }
  return result;
}

// How the rows of an A fragment are gathered.
// PAIRS: the lanes of two neighbouring rows load whole lines of one pixel and then of the other, blend, and exchange
// what belongs to the other row. Else each lane loads its own row, odd rows their upper half first.
enum Gathering { PAIRS, HALVES };

// One row of an m16 tile on its way: the four corners of a lane's channels, of two pixels or in two halves.
template <Gathering GATHERING> struct Gather {
  half2 weight[2][4];
  Half8 v[2][4];

  __device__ __forceinline__ static Gather issue(const uint4* features, const Packed& own, int first, int lane,
                                                 int width) {
    const int g = lane >> 2;
    const uint32_t half_first = (lane & 3) + (g & 1 ? 4 : 0);
    Gather result;
    if (GATHERING == PAIRS) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const Sample s = take(own, first + (g & 6) + e, half_first, width);
        const uint32_t corners[4] = {s.corner, s.corner + s.right, s.corner + s.down, s.corner + s.down + s.right};
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          result.v[e][c] = load_at(features, corners[c]);
          result.weight[e][c] = s.weight[c];
        }
      }
    } else {
      const Sample s = take(own, first + g, half_first, width);
      const uint32_t corners[4] = {s.corner, s.corner + s.right, s.corner + s.down, s.corner + s.down + s.right};
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        result.v[0][c] = load_at(features, corners[c]);
        result.v[1][c] = load_at(features, corners[c] ^ 4);
        result.weight[0][c] = result.weight[1][c] = s.weight[c];
      }
    }
    return result;
  }

  // The lane's row: its channels 8q ... and 32+8q ...
  __device__ __forceinline__ void finish(int lane, Half8 (&a)[2]) const {
    const bool odd = lane & 4;
    const Half8 one = blend(v[0], weight[0]), two = blend(v[1], weight[1]);
    if (GATHERING == PAIRS) {
      const Half8 kept = pick(odd, one, two);
      Half8 given = pick(odd, two, one);
#pragma unroll
      for (int k = 0; k < 4; ++k) given.pair[k] = __shfl_sync(~0u, given.pair[k], lane ^ 4);
      a[0] = pick(odd, kept, given);
      a[1] = pick(odd, given, kept);
    } else {
      a[0] = pick(odd, one, two);
      a[1] = pick(odd, two, one);
    }
  }
};

// Offsets of one pixel, tap after tap, read ahead of their use.
struct StridedOffsets {  // 18 channels, laid out anyhow
  const half* at;
  index_t channel;
  half y, x;
  __device__ __forceinline__ void fetch() { y = at[0], x = at[channel]; }
  __device__ __forceinline__ void step() { at += 2 * channel; }
  __device__ __forceinline__ float2 value() const { return {__half2float(y), __half2float(x)}; }
};
struct PairedOffsets {  // the channels of a pixel lie together
  const half2* at;
  half2 next;
  __device__ __forceinline__ void fetch() { next = __ldg(at); }
  __device__ __forceinline__ void step() { ++at; }
  __device__ __forceinline__ float2 value() const { return __half22float2(next); }
};

// sum += the nine taps of the warp's pixels. `offsets` are those of the lane's own pixel, not read where it is outside the
// picture.
// AHEAD: the next tap's first row is on its way while this tap is multiplied.
template <Gathering GATHERING, bool AHEAD, class Offsets, class Weights>
__device__ __forceinline__ void convolve(Sums& sum, Weights& weights, const uint4* features, Offsets offsets,
                                         const Warp& warp, int height, int width) {
  const int lane = warp.lane, own_y = warp.own_y(), own_x = warp.own_x();
  const bool inside = own_y < height && own_x < width;
  if (inside) offsets.fetch();
  Packed own;
  const auto locate = [&](int tap) {
    float2 shift = {0.f, 0.f};  // down and to the right
    if (inside) {
      shift = offsets.value();
      if (tap < TAPS - 1) offsets.step();
      offsets.fetch();
    }
    own = pack(sample_at(own_y + tap / 3 - 1 + shift.x, own_x + tap % 3 - 1 + shift.y, height, width));
  };
  Gather<GATHERING> ahead;
  if (AHEAD) {
    locate(0);
    ahead = Gather<GATHERING>::issue(features, own, 0, lane, width);
  }
#pragma unroll 1
  for (int tap = 0; tap < TAPS; ++tap) {
    if (!AHEAD) locate(tap);
    weights.begin(tap);
    Rows a;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (AHEAD && m == 0 && r == 0) {
          ahead.finish(lane, a[m][r]);
        } else {
          Gather<GATHERING>::issue(features, own, m * 16 + r * 8, lane, width).finish(lane, a[m][r]);
        }
      }
    if (AHEAD) {
      locate(tap + 1);  // after the last tap: of no use, but inside the picture
      ahead = Gather<GATHERING>::issue(features, own, 0, lane, width);
    }
    weights.multiply(sum, a, lane);
    weights.end();
  }
}

__device__ __forceinline__ void clear(Sums& sum) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[m][n][i] = 0.f;
}

// Calls body(m, r, near, far, swapped) for the rows of the lane that are inside the picture. `near` and `far` are where
// it reads or writes eight channels at a time: the lower ones and the upper ones, swapped in odd rows.
template <class Body>
__device__ __forceinline__ void for_rows(const Warp& warp, int height, int width, const Body& body) {
  const int lane = again(warp.lane), x = warp.left + (lane >> 2);
  const int first = (warp.image * height + warp.top) * width + x;
  const bool swapped = lane & 4;
#pragma unroll
  for (int row = 0; row < WARP_ROWS; ++row) {
    if (warp.top + row >= height || x >= width) continue;
    const index_t at = (index_t)(first + row * width) * CHANNELS + 8 * (lane & 3);
    body(row / 2, row % 2, at + (swapped ? 32 : 0), at + (swapped ? 0 : 32), swapped);
  }
}
