// The deformable convolution residual block from hidden maps: v = SFT2(relu(dc1(u))), z' = z + dc2(v), u' = SFT1'(z'),
// where u = SFT1(z) was made by whoever made z, and SFT1' is the one of the block that comes next. 64 channels, FP16.
//
// SFT(x) = (1 + gain) * x + shift. Gain and shift are 3x3 convolutions of 8 hidden channels each (conv 2 of eq. 2); a
// warp multiplies them on tensor cores for its own pixels when it needs them, and they never reach memory: per pixel 32
// bytes of hidden channels are read instead of 256 bytes of gain and shift.
//
// A hidden map has `stride` channels a pixel, of which a layer takes 16: 8 of the gain, then 8 of the shift. The pointer
// is that of the first pixel's first of them.

// By multiprocessor: what does not spill, in the order in which an H200 was faster. dcrb_from_hidden.py has the same threads.
#if defined(__CUDA_ARCH__) && !defined(KERNEL_SM)
#define KERNEL_SM (__CUDA_ARCH__ / 10)
#endif
#ifndef DCRB_THREADS
#define DCRB_THREADS (KERNEL_SM == 80 || KERNEL_SM >= 90 ? 384 : 256)
#endif
#ifndef DCRB_GATHERING
#define DCRB_GATHERING (DCRB_THREADS > 256 ? PAIRS : HALVES)
#endif
#ifndef DCRB_AHEAD
#define DCRB_AHEAD (KERNEL_SM != 80 && KERNEL_SM != 90)
#endif
#ifndef DCRB_EARLY
#define DCRB_EARLY (DCRB_THREADS == 256)
#endif
// Whether the weights of the SFT layer find room in shared memory.
#ifndef DCRB_SFT_RESIDENT
#define DCRB_SFT_RESIDENT (KERNEL_SM == 80 || KERNEL_SM == 87 || (KERNEL_SM >= 90 && KERNEL_SM < 120))
#endif
// Whether four warps multiply together.
#ifndef DCRB_WGMMA
#define DCRB_WGMMA 0
#endif
#include "deform.cuh"

#if DCRB_WGMMA
template <int THREADS> using Products = GroupWeights<THREADS>;
#else
template <int THREADS> using Products = WarpWeights<THREADS>;
#endif

constexpr int THREADS = DCRB_THREADS;
constexpr Gathering GATHERING = DCRB_GATHERING;
constexpr bool AHEAD = DCRB_AHEAD;
constexpr bool SFT_RESIDENT = DCRB_SFT_RESIDENT;

constexpr int OFFSET_CHANNELS = 24;  // of a pixel; 18 are used
constexpr int HALO_ROWS = WARP_ROWS + 2, HALO_COLUMNS = WARP_COLUMNS + 2, HALO = HALO_ROWS * HALO_COLUMNS;
constexpr int HALO_VECTORS = 2 * HALO;   // [gain, shift][row][column] of eight channels
constexpr int KIND_VECTORS = TAPS * 64;  // of weights, for gain or shift: [18][32 lanes], see pack_sft_weight
constexpr int SFT_VECTORS = 2 * KIND_VECTORS;
static_assert(KIND_VECTORS == 18 * 32, "a lane has nine words for each of eight output tiles");

// A lane's two hidden channels 2q and 2q + 1 of the pixel of row y and column g + x of the warp's halo: the A fragments
// of all taps and both tiles, because row g + 8 of a tile is the picture's next row.
typedef uint32_t HiddenRows[HALO_ROWS][3];

// Hidden channels of the warp's pixels and their neighbours, in the warp's own piece of shared memory.
struct Hidden {
  uint4* tile;

  __device__ __forceinline__ explicit Hidden(int thread)
      : tile(dynamic_shared() + (thread >> 5) * HALO_VECTORS) {}

  // Starts to read; zeros outside the picture.
  __device__ __forceinline__ void fetch(const half* map, int stride, const Warp& warp, int height, int width) const {
    const half* image = map + (index_t)warp.image * height * width * stride;
    const int lane = again(warp.lane);
#pragma unroll
    for (int i = 0; i < (HALO_VECTORS + 31) / 32; ++i) {
      const int vector = i * 32 + lane, pixel = vector >> 1, kind = vector & 1;
      const int y = warp.top - 1 + pixel / HALO_COLUMNS, x = warp.left - 1 + pixel % HALO_COLUMNS;
      const bool inside = (unsigned)y < (unsigned)height && (unsigned)x < (unsigned)width;
      const half* source = image + (index_t)(inside ? y * width + x : 0) * stride + 8 * kind;
      if (vector < HALO_VECTORS) {
#if KERNEL_SM >= 80
        copy_async(tile + kind * HALO + pixel, source, inside);
#else
        tile[kind * HALO + pixel] = inside ? __ldg(reinterpret_cast<const uint4*>(source)) : make_uint4(0, 0, 0, 0);
#endif
      }
    }
  }
  __device__ __forceinline__ void wait() const {
#if KERNEL_SM >= 80
    wait_for_copies();
#endif
    __syncwarp();
  }
  __device__ __forceinline__ void read(int kind, int lane, HiddenRows& rows) const {
    const uint32_t* words = reinterpret_cast<const uint32_t*>(tile + kind * HALO + (lane >> 2)) + (lane & 3);
#pragma unroll
    for (int y = 0; y < HALO_ROWS; ++y)
#pragma unroll
      for (int x = 0; x < 3; ++x) rows[y][x] = words[4 * (y * HALO_COLUMNS + x)];
  }
};

// Shared memory: the warps' hidden channels, the SFT layer's weights where they are resident, the convolution's weights.
__device__ __forceinline__ uint4* sft_memory() { return dynamic_shared() + THREADS / 32 * HALO_VECTORS; }

// map += the 3x3 convolution of 8 hidden channels into an output tile, of both m tiles.
__device__ __forceinline__ void add_hidden(float (&map)[M_TILES][4], const HiddenRows& rows,
                                           const uint32_t (&w)[TAPS]) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
    for (int tap = 0; tap < TAPS - 1; tap += 2) {
      const int y = 2 * m + tap / 3, x = tap % 3, next_y = 2 * m + (tap + 1) / 3, next_x = (tap + 1) % 3;
      const uint32_t fragment[4] = {rows[y][x], rows[y + 1][x], rows[next_y][next_x], rows[next_y + 1][next_x]};
      multiply(map[m], fragment, w[tap], w[tap + 1]);
    }
    mma_k8(map[m], rows[2 * m + 2][2], rows[2 * m + 3][2], w[TAPS - 1]);
  }
}

template <class T> __device__ __forceinline__ T weights_at(const T* p) { return SFT_RESIDENT ? *p : __ldg(p); }

// sum = gain * sum + shift. `bias` has 1 + the gain's biases, then the shift's. A loop, so that the compiler does not
// begin with the shift while it is at the gain: that would take registers that are not there.
__device__ __forceinline__ void apply_sft(Sums& sum, const Hidden& hidden, const uint4* weight, const float* bias,
                                          int lane) {
#pragma unroll 1
  for (int kind = 0; kind < 2; ++kind) {
    HiddenRows rows;
    hidden.read(kind, lane, rows);
    const uint4* source = weight + kind * KIND_VECTORS + lane;
    const uint32_t* last = reinterpret_cast<const uint32_t*>(source - lane + 16 * 32) + lane;
    const float* base = bias + kind * CHANNELS + 8 * (lane & 3);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const uint4 v0 = weights_at(source + 64 * n), v1 = weights_at(source + 64 * n + 32);
      const uint32_t w[TAPS] = {v0.x, v0.y, v0.z, v0.w, v1.x, v1.y, v1.z, v1.w, weights_at(last + 32 * n)};
      const float2 b = __ldg(reinterpret_cast<const float2*>(base + 32 * (n / 4) + 2 * (n % 4)));
      float map[M_TILES][4];
#pragma unroll
      for (int m = 0; m < M_TILES; ++m) map[m][0] = map[m][2] = b.x, map[m][1] = map[m][3] = b.y;
      add_hidden(map, rows, w);
#pragma unroll
      for (int m = 0; m < M_TILES; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& v = sum[m][n][i];
          v = kind == 0 ? v * map[m][i] : v + map[m][i];
        }
    }
  }
}

__device__ __forceinline__ void add_bias(Sums& sum, const float* bias, int lane) {
  const float* at = bias + again(8 * (lane & 3));
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const float2 b = __ldg(reinterpret_cast<const float2*>(at + 32 * (n / 4) + 2 * (n % 4)));
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[m][n][i] += i % 2 ? b.y : b.x;
  }
}

__device__ __forceinline__ void relu(Sums& sum) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[m][n][i] = fmaxf(sum[m][n][i], 0.f);
}

// sum += map, at the warp's pixels.
__device__ __forceinline__ void add_map(Sums& sum, const half* map, const Warp& warp, int height, int width) {
  for_rows(warp, height, width, [&](int m, int r, index_t near, index_t far, bool swapped) {
    const Half8 read[2] = {load8(map + near), load8(map + far)};
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const Half8 part = pick(swapped, read[c], read[1 - c]);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float2 v = __half22float2(halves(part.pair[k]));
        sum[m][4 * c + k][2 * r] += v.x;
        sum[m][4 * c + k][2 * r + 1] += v.y;
      }
    }
  });
}

__device__ __forceinline__ void store_map(const Sums& sum, half* map, const Warp& warp, int height, int width) {
  for_rows(warp, height, width, [&](int m, int r, index_t near, index_t far, bool swapped) {
    Half8 part[2];
#pragma unroll
    for (int c = 0; c < 2; ++c)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float* v = &sum[m][4 * c + k][2 * r];
        part[c].pair[k] = bits(__floats2half2_rn(v[0], v[1]));
      }
    store8(map + near, pick(swapped, part[0], part[1]));
    store8(map + far, pick(swapped, part[1], part[0]));
  });
}

// What the two convolutions share: weights in shared memory, the warp's piece of it, and the way from tile to tile.
// `finish(sum, warp, hidden, sft weights)` is the epilogue.
template <class Finish>
__device__ __forceinline__ void for_tiles(const half* x, const half* offset, const uint4* packed, const half* map,
                                          int stride, const uint4* sft_weight, const half* early, int batch, int height, int width,
                                          const Finish& finish) {
  if (SFT_RESIDENT && map)
    for (int i = threadIdx.x; i < SFT_VECTORS; i += THREADS) sft_memory()[i] = __ldg(sft_weight + i);
  Products<THREADS> weights(packed, sft_memory() + (SFT_RESIDENT ? SFT_VECTORS : 0));  // ends with a barrier
  const Tiles<THREADS> tiles(batch, height, width);
  for (int tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
    __syncwarp();  // all lanes are done with the hidden channels of the tile before
    Sums sum;
    clear(sum);
    {
      const Warp warp = tiles.at(tile, threadIdx.x);
      if (map) Hidden(threadIdx.x).fetch(map, stride, warp, height, width);
      const index_t first = (index_t)warp.image * height * width;
      const index_t own = first + (index_t)warp.own_y() * width + warp.own_x();
#if DCRB_EARLY
      if (early && warp.own_y() < height && warp.own_x() < width)
        prefetch(early + own * CHANNELS);
#endif
      const PairedOffsets offsets = {reinterpret_cast<const half2*>(offset + own * OFFSET_CHANNELS)};
      convolve<GATHERING, AHEAD>(sum, weights, reinterpret_cast<const uint4*>(x + first * CHANNELS), offsets, warp, height,
                          width);
    }
    const int thread = again(threadIdx.x);
    finish(sum, tiles.at(tile, thread), Hidden(thread), SFT_RESIDENT ? sft_memory() : sft_weight);
  }
}

// out = SFT(relu(dc(x) + bias))
extern "C" __global__ void __launch_bounds__(THREADS) dcrb2_first(
    const half* x, const half* offset, const uint4* weight, const float* bias, const half* hidden_map, int stride,
    const uint4* sft_weight, const float* sft_bias, half* out, int batch, int height, int width) {
  for_tiles(x, offset, weight, hidden_map, stride, sft_weight, nullptr, batch, height, width,
            [&](Sums& sum, const Warp& warp, const Hidden& hidden, const uint4* sft) {
              add_bias(sum, bias, warp.lane);
              relu(sum);
              hidden.wait();
              apply_sft(sum, hidden, sft, sft_bias, warp.lane);
              store_map(sum, out, warp, height, width);
            });
}

// out = z + skip + dc(x) + bias, and where there is a hidden map, next = SFT(out). Without a skip map `skip` is null.
// `out` may be `z`.
extern "C" __global__ void __launch_bounds__(THREADS) dcrb2_second(
    const half* x, const half* offset, const uint4* weight, const float* bias, const half* z, const half* skip,
    half* out, const half* hidden_map, int stride, const uint4* sft_weight, const float* sft_bias, half* next,
    int batch, int height, int width) {
  for_tiles(x, offset, weight, hidden_map, stride, sft_weight, z, batch, height, width,
            [&](Sums& sum, const Warp& warp, const Hidden& hidden, const uint4* sft) {
              add_bias(sum, bias, warp.lane);
              add_map(sum, z, warp, height, width);
              if (skip) add_map(sum, skip, warp, height, width);
              store_map(sum, out, warp, height, width);
              if (!hidden_map) return;
              hidden.wait();
              apply_sft(sum, hidden, sft, sft_bias, warp.lane);
              store_map(sum, next, warp, height, width);
            });
}

// out = SFT(z)
extern "C" __global__ void __launch_bounds__(THREADS) dcrb2_sft(
    const half* z, const half* hidden_map, int stride, const uint4* sft_weight, const float* sft_bias, half* out,
    int batch, int height, int width) {
  const Hidden hidden(threadIdx.x);
  const Warp warp = Tiles<THREADS>(batch, height, width).at(blockIdx.x, threadIdx.x);
  hidden.fetch(hidden_map, stride, warp, height, width);
  Sums sum;
  clear(sum);
  add_map(sum, z, warp, height, width);
  hidden.wait();
  apply_sft(sum, hidden, sft_weight, sft_bias, warp.lane);
  store_map(sum, out, warp, height, width);
}
