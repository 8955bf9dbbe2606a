// A 3x3 convolution with zero padding of 1 as an implicit matrix product on tensor cores, and all that the network does
// between two of them: bias, activation, SFT layer, residual, pixel shuffle, the tone net's product, the final sum.
//
// Feature maps are NHWC FP16, sums FP32. A block stays on its multiprocessor and takes one tile of output pixels after
// the other. The tile's input with its border of one pixel (the halo) is copied to shared memory, asynchronously from
// SM80 on, while the tile before is multiplied (two stages) or stored (one stage). The weights are copied once, if they
// fit (RESIDENT), else they are read through L1.
//
// A warp computes ROWS x 16 pixels by WARP_TILES x 8 channels. For a column of taps and 16 input channels it holds the
// weights of three taps and goes down the ROWS + 2 rows of the halo: a row that is read once by ldmatrix serves the
// three output rows that it is a neighbour of. Reading shared memory is what bounds such a product, not multiplying.
//
// Columns of the product are permuted (see convolution_packing.py), so that a lane owns 8 neighbouring channels of a
// pixel, and stores and reads them 16 bytes at a time.
//
// The lines that make kernels of these templates are generated from convolution_table.py for each SM. Compiled by NVRTC
// for SM75 and up. Compiled by a host compiler, whoever does so supplies a <cuda_fp16.h> of their own with the few CUDA
// features used here.
#include <cuda_fp16.h>

#ifdef __CUDA_ARCH__
#define CONVOLUTION_SM (__CUDA_ARCH__ / 10)
typedef unsigned int uint32_t;
typedef uint32_t shared_t;  // an address in shared memory

__device__ __forceinline__ uint4* dynamic_shared() {
  extern __shared__ uint4 memory[];
  return memory;
}
__device__ __forceinline__ shared_t shared_address(const void* p) { return (shared_t)__cvta_generic_to_shared(p); }

// c += a * b for a 16 x K tile a (row major) and a K x 8 tile b, spread over the warp as the PTX manual says.
__device__ __forceinline__ void mma_k8(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}
#if CONVOLUTION_SM >= 80
__device__ __forceinline__ void mma_k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// Four (two) 8 x 8 matrices of halves; lane 8 i + j points to row j of matrix i.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], shared_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row));
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], shared_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(row));
}
__device__ __forceinline__ uint32_t load_shared(shared_t at) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(at));
  return word;
}
__device__ __forceinline__ void store_shared(shared_t at, uint4 v) {
  asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

// Copies 16 or 8 bytes to shared memory, zeros where they are not valid. Done for sure after wait_copies.
#if CONVOLUTION_SM >= 80
__device__ __forceinline__ void copy16(shared_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy8(shared_t to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(valid ? 8 : 0) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING> __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#else
__device__ __forceinline__ void copy16(shared_t to, const void* from, bool valid) {
  store_shared(to, valid ? __ldg(reinterpret_cast<const uint4*>(from)) : make_uint4(0, 0, 0, 0));
}
__device__ __forceinline__ void copy8(shared_t to, const void* from, bool valid) {
  const uint2 v = valid ? __ldg(reinterpret_cast<const uint2*>(from)) : make_uint2(0, 0);
  asm volatile("st.shared.v2.b32 [%0], {%1,%2};" ::"r"(to), "r"(v.x), "r"(v.y) : "memory");
}
__device__ __forceinline__ void commit_copies() {}
template <int PENDING> __device__ __forceinline__ void wait_copies() {}
#endif
#endif

typedef long long index_t;

constexpr int HIDDEN = 8;                      // channels between the two convolutions of a gain or shift map
constexpr int SFT_VECTORS = 9 * HIDDEN * 64 / 8;  // weights of a gain or shift map, in uint4
enum End { PRODUCT, PLANAR, INTERLEAVED };     // what becomes of a result of three channels

// A kernel's measures.
//   channels     of the input: 4, 32 or 64
//   tiles        of 8 output channels that a block computes
//   stride       1 or 2
//   rows         output rows of a warp; a block's tile is rows * warps_y by 16 * warps_x pixels
//   warps_y, _x  warps that share a tile, and warps_n that share its output channels
//   stages       halos in shared memory: 2 to copy during the multiplication, 1 to copy during the epilogue
//   resident     the weights are in shared memory
//   sft          0 none; 1 an SFT layer at the end, its weights read through L1; 2 in shared memory
//   shuffle      a block's channels are one of the four places of a pixel shuffle by two
//   upsample     the input is interpolated while it is copied
template <int channels, int tiles, int stride, int rows, int warps_y, int warps_x, int warps_n, int stages,
          int resident, int sft, int shuffle, int upsample>
struct Shape {
  static constexpr int CHANNELS = channels, TILES = tiles, STRIDE = stride, ROWS = rows, STAGES = stages;
  static constexpr int WARPS_Y = warps_y, WARPS_X = warps_x, WARPS_N = warps_n;
  static constexpr bool RESIDENT = resident, SFT = sft != 0, SFT_RESIDENT = sft == 2;
  static constexpr bool SHUFFLE = shuffle, UPSAMPLE = upsample;
  static constexpr int THREADS = 32 * warps_y * warps_x * warps_n;
  static constexpr int SCALE = shuffle ? 2 : 1;  // output pixels a pixel of the product, each way
  static constexpr int TILE_ROWS = rows * warps_y, TILE_COLUMNS = 16 * warps_x;
  static constexpr int WARP_TILES = tiles / warps_n;
  static constexpr int GROUP = WARP_TILES < 4 ? WARP_TILES : 4;  // tiles of which a lane's channels are neighbours
  static constexpr int GROUPS = WARP_TILES / GROUP;
  static_assert(warps_n * WARP_TILES == tiles && GROUPS * GROUP == WARP_TILES, "channels cannot be shared like this");
  static_assert(warps_n == 1 || WARP_TILES % 4 == 0, "a warp's channels are whole groups");
  static constexpr int OUT = tiles * 8;

  static constexpr int K = channels == 4 ? 40 : 9 * channels;  // rows of the product's right side, padded to eight
  static constexpr int UNIT = tiles % 2 ? 2 : 4;  // words that a lane reads at a time: one or two tiles' fragments
  static constexpr int WEIGHT_BYTES = K * OUT * 2;
  static constexpr int HALO_ROWS = (TILE_ROWS - 1) * stride + 3, HALO_COLUMNS = (TILE_COLUMNS - 1) * stride + 3;
  static constexpr int PIXEL_BYTES = 2 * channels, ROW_BYTES = HALO_COLUMNS * PIXEL_BYTES;
  static constexpr int HALO_BYTES = (HALO_ROWS * ROW_BYTES + 15) / 16 * 16;
  static constexpr int HIDDEN_ROWS = (TILE_ROWS - 1) * SCALE + 3, HIDDEN_COLUMNS = (TILE_COLUMNS - 1) * SCALE + 3;
  static constexpr int PLANE_BYTES = SFT ? HIDDEN_ROWS * HIDDEN_COLUMNS * 2 * HIDDEN : 0;

  static constexpr int SFT_AT = RESIDENT ? WEIGHT_BYTES : 0;
  static constexpr int HALO_AT = SFT_AT + (SFT_RESIDENT ? 2 * SFT_VECTORS * 16 : 0);
  static constexpr int PLANES_AT = HALO_AT + stages * HALO_BYTES;  // of the gain's and the shift's hidden channels
  static constexpr int SHARED = PLANES_AT + 2 * PLANE_BYTES;

  // Where a pixel's 16 bytes are within it: eight neighbouring pixels' fall into different banks.
  static __device__ __forceinline__ int swizzle(int column) {
    return channels == 64 ? column / stride & 7 : channels == 32 ? column / (2 * stride) & 3 : 0;
  }
};

struct Half8 {  // 128-bit accesses have to be written as uint4: a struct of half2 is copied member by member
  uint32_t pair[4];
};
__device__ __forceinline__ uint32_t bits(half2 v) { return *reinterpret_cast<uint32_t*>(&v); }
__device__ __forceinline__ half2 halves(uint32_t v) { return *reinterpret_cast<half2*>(&v); }
__device__ __forceinline__ float2 floats(uint32_t v) { return __half22float2(halves(v)); }

// 2 * COUNT neighbouring halves
template <int COUNT> __device__ __forceinline__ void load_halves(uint32_t (&to)[COUNT], const half* p) {
  if constexpr (COUNT == 4) {
    const uint4 v = *reinterpret_cast<const uint4*>(p);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) to[i] = reinterpret_cast<const uint32_t*>(p)[i];
  }
}
template <int COUNT> __device__ __forceinline__ void store_halves(half* p, const uint32_t (&v)[COUNT]) {
  if constexpr (COUNT == 4) {
    *reinterpret_cast<uint4*>(p) = make_uint4(v[0], v[1], v[2], v[3]);
  } else if constexpr (COUNT == 2) {
    *reinterpret_cast<uint2*>(p) = make_uint2(v[0], v[1]);
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) reinterpret_cast<uint32_t*>(p)[i] = v[i];
  }
}

// c += a * b over 16 rows of b
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if CONVOLUTION_SM >= 80
  mma_k16(c, a, b0, b1);
#else
  mma_k8(c, a[0], a[1], b0);
  mma_k8(c, a[2], a[3], b1);
#endif
}

__device__ __forceinline__ uint4 fetch(const uint4* p, bool shared) { return shared ? *p : __ldg(p); }
__device__ __forceinline__ uint2 fetch(const uint2* p, bool shared) { return shared ? *p : __ldg(p); }

// The fragments of a step of 16 rows for COUNT tiles from `tile` on, out of TILES.
template <int TILES, int COUNT, bool SHARED>
__device__ __forceinline__ void fetch_step(uint32_t (&b)[COUNT][2], const uint4* packed, int step, int tile, int lane) {
  if constexpr (TILES % 2 == 0) {
    const uint4* at = packed + (step * (TILES / 2) + tile / 2) * 32 + lane;
#pragma unroll
    for (int n = 0; n < COUNT / 2; ++n) {
      const uint4 w = fetch(at + n * 32, SHARED);
      b[2 * n][0] = w.x, b[2 * n][1] = w.y, b[2 * n + 1][0] = w.z, b[2 * n + 1][1] = w.w;
    }
  } else {
    const uint2* at = reinterpret_cast<const uint2*>(packed) + (step * TILES + tile) * 32 + lane;
#pragma unroll
    for (int n = 0; n < COUNT; ++n) {
      const uint2 w = fetch(at + n * 32, SHARED);
      b[n][0] = w.x, b[n][1] = w.y;
    }
  }
}
// The same for the last 8 rows, behind `steps` steps of 16, of an even number of tiles.
template <int TILES, int COUNT, bool SHARED>
__device__ __forceinline__ void fetch_rest(uint32_t (&b)[COUNT], const uint4* packed, int steps, int tile, int lane) {
  const uint2* at = reinterpret_cast<const uint2*>(packed + steps * (TILES / 2) * 32) + tile / 2 * 32 + lane;
#pragma unroll
  for (int n = 0; n < COUNT / 2; ++n) {
    const uint2 w = fetch(at + n * 32, SHARED);
    b[2 * n] = w.x, b[2 * n + 1] = w.y;
  }
}

// ---- Copying to shared memory --------------------------------------------------------------------------------------

// Bilinear interpolation without aligned corners, as PyTorch defines it: pixel centres at halves, clamped at the border.
__device__ __forceinline__ uint4 interpolate(const half* source, int y, int x, int height, int width, int channels,
                                             float step) {
  const float fy = fmaxf((y + 0.5f) * step - 0.5f, 0.f), fx = fmaxf((x + 0.5f) * step - 0.5f, 0.f);
  const int y0 = (int)fy, x0 = (int)fx;
  const float ay = fy - y0, ax = fx - x0;
  const half* upper = source + ((index_t)y0 * width + x0) * channels;
  const half* lower = upper + (y0 + 1 < height ? width * channels : 0);
  const int right = x0 + 1 < width ? channels : 0;
  uint32_t v[4][4], result[4];
  load_halves(v[0], upper);
  load_halves(v[1], upper + right);
  load_halves(v[2], lower);
  load_halves(v[3], lower + right);
  const float w[4] = {(1 - ay) * (1 - ax), (1 - ay) * ax, ay * (1 - ax), ay * ax};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    float2 sum = {0.f, 0.f};
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const float2 each = floats(v[c][k]);
      sum = {sum.x + w[c] * each.x, sum.y + w[c] * each.y};
    }
    result[k] = bits(__floats2half2_rn(sum.x, sum.y));
  }
  return make_uint4(result[0], result[1], result[2], result[3]);
}

// Copies the halo whose upper left pixel is (top, left); pixels outside the picture are zero. With UPSAMPLE the picture
// is `factor` times as large as x.
template <class S>
__device__ __forceinline__ void copy_halo(shared_t halo, const half* x, int top, int left, int height, int width,
                                          int factor) {
  constexpr int VECTORS = S::CHANNELS == 4 ? 1 : S::CHANNELS / 8;
  constexpr int PIXELS = S::THREADS / VECTORS, COUNT = S::HALO_ROWS * S::HALO_COLUMNS;
  const int vector = threadIdx.x % VECTORS;
  int row = threadIdx.x / VECTORS / S::HALO_COLUMNS, column = threadIdx.x / VECTORS % S::HALO_COLUMNS;
  const float step = 1.f / factor;
#pragma unroll 4
  for (int i = 0; i < (COUNT + PIXELS - 1) / PIXELS; ++i) {
    if (COUNT % PIXELS == 0 || row < S::HALO_ROWS) {
      const int gy = top + row, gx = left + column;
      const bool inside = (unsigned)gy < (unsigned)(height * factor) && (unsigned)gx < (unsigned)(width * factor);
      const shared_t to = halo + (row * S::HALO_COLUMNS + column) * S::PIXEL_BYTES;
      if constexpr (S::UPSAMPLE) {
        uint4 v = make_uint4(0, 0, 0, 0);
        if (inside) v = interpolate(x + 8 * vector, gy, gx, height, width, S::CHANNELS, step);
        store_shared(to + ((vector ^ S::swizzle(column)) << 4), v);
      } else {
        const half* from = inside ? x + ((index_t)gy * width + gx) * S::CHANNELS + 8 * vector : x;
        if constexpr (S::CHANNELS == 4) {
          copy8(to, from, inside);
        } else {
          copy16(to + ((vector ^ S::swizzle(column)) << 4), from, inside);
        }
      }
    }
    column += PIXELS % S::HALO_COLUMNS;
    row += PIXELS / S::HALO_COLUMNS;
    if (column >= S::HALO_COLUMNS) column -= S::HALO_COLUMNS, ++row;
  }
}

// Copies the hidden channels around a tile, the gain's and the shift's into a plane each.
template <class S>
__device__ __forceinline__ void copy_hidden(shared_t planes, const half* hidden, int top, int left, int height,
                                            int width, int stride) {
  constexpr int PIXELS = S::THREADS / 2, COUNT = S::HIDDEN_ROWS * S::HIDDEN_COLUMNS;
  const int part = threadIdx.x % 2;
  int row = threadIdx.x / 2 / S::HIDDEN_COLUMNS, column = threadIdx.x / 2 % S::HIDDEN_COLUMNS;
#pragma unroll 2
  for (int i = 0; i < (COUNT + PIXELS - 1) / PIXELS; ++i) {
    if (row < S::HIDDEN_ROWS) {
      const int gy = top + row, gx = left + column;
      const bool inside = (unsigned)gy < (unsigned)height && (unsigned)gx < (unsigned)width;
      const half* from = inside ? hidden + ((index_t)gy * width + gx) * stride + HIDDEN * part : hidden;
      copy16(planes + part * S::PLANE_BYTES + (row * S::HIDDEN_COLUMNS + column) * 16, from, inside);
    }
    column += PIXELS % S::HIDDEN_COLUMNS;
    row += PIXELS / S::HIDDEN_COLUMNS;
    if (column >= S::HIDDEN_COLUMNS) column -= S::HIDDEN_COLUMNS, ++row;
  }
}

// ---- Multiplying ---------------------------------------------------------------------------------------------------

// A lane's place: of its warp in the block's tile, and in the fragments (PTX: g = lane / 4, q = lane % 4).
struct Place {
  int lane, row, column, tile;
};

template <class S>
__device__ __forceinline__ void multiply_halo(float (&sum)[S::ROWS][S::WARP_TILES][4], shared_t halo,
                                              const uint4* weight, const Place& place) {
  if constexpr (S::CHANNELS == 4) {
    // Rows of the product: four channels of a tap after the other. A lane reads two channels of a tap at a time.
    const int q = place.lane & 3, g = place.lane >> 2;
    const shared_t at = halo + (place.row * S::HALO_COLUMNS + place.column + g) * S::PIXEL_BYTES + 4 * (q & 1);
#pragma unroll
    for (int step = 0; step < 3; ++step) {
      const int first = min(4 * step + (q >> 1), 8), second = min(4 * step + (q >> 1) + 2, 8);
      const shared_t upper = at + (first / 3 * S::HALO_COLUMNS + first % 3) * S::PIXEL_BYTES;
      const shared_t lower = at + (second / 3 * S::HALO_COLUMNS + second % 3) * S::PIXEL_BYTES;
      if (step < 2) {
        uint32_t b[S::WARP_TILES][2];
        fetch_step<S::TILES, S::WARP_TILES, S::RESIDENT>(b, weight, step, place.tile, place.lane);
#pragma unroll
        for (int r = 0; r < S::ROWS; ++r) {
          const int next = 8 * S::PIXEL_BYTES, down = r * S::ROW_BYTES;
          const uint32_t a[4] = {load_shared(upper + down), load_shared(upper + down + next), load_shared(lower + down),
                                 load_shared(lower + down + next)};
#pragma unroll
          for (int n = 0; n < S::WARP_TILES; ++n) multiply(sum[r][n], a, b[n][0], b[n][1]);
        }
      } else {
        uint32_t b[S::WARP_TILES];
        fetch_rest<S::TILES, S::WARP_TILES, S::RESIDENT>(b, weight, 2, place.tile, place.lane);
#pragma unroll
        for (int r = 0; r < S::ROWS; ++r) {
          const uint32_t a[2] = {load_shared(upper + r * S::ROW_BYTES),
                                 load_shared(upper + r * S::ROW_BYTES + 8 * S::PIXEL_BYTES)};
#pragma unroll
          for (int n = 0; n < S::WARP_TILES; ++n) mma_k8(sum[r][n], a[0], a[1], b[n]);
        }
      }
    }
  } else {
    constexpr int STEPS = S::CHANNELS / 16;
#pragma unroll 1
    for (int dx = 0; dx < 3; ++dx) {
      const int column = (place.column + (place.lane & 15)) * S::STRIDE + dx;
      const int swizzle = S::swizzle(column);
      const shared_t at = halo + place.row * S::STRIDE * S::ROW_BYTES + column * S::PIXEL_BYTES;
#pragma unroll
      for (int k = 0; k < STEPS; ++k) {
        const shared_t vector = at + (((2 * k + (place.lane >> 4)) ^ swizzle) << 4);
        uint32_t b[3][S::WARP_TILES][2];
#pragma unroll
        for (int dy = 0; dy < 3; ++dy)
          fetch_step<S::TILES, S::WARP_TILES, S::RESIDENT>(b[dy], weight, (dy * 3 + dx) * STEPS + k, place.tile,
                                                           place.lane);
#pragma unroll
        for (int i = 0; i < (S::ROWS - 1) * S::STRIDE + 3; ++i) {
          uint32_t a[4];
          ldmatrix_x4(a, vector + i * S::ROW_BYTES);
#pragma unroll
          for (int dy = 0; dy < 3; ++dy) {
            const int r = (i - dy) / S::STRIDE;
            if (i < dy || (i - dy) % S::STRIDE || r >= S::ROWS) continue;
#pragma unroll
            for (int n = 0; n < S::WARP_TILES; ++n) multiply(sum[r][n], a, b[dy][n][0], b[dy][n][1]);
          }
        }
      }
    }
  }
}

// total += the 3x3 convolution of eight hidden channels, for COUNT tiles from `tile` on.
template <class S, int COUNT, int OF>
__device__ __forceinline__ void multiply_hidden(float (&total)[S::ROWS][OF][4], int from, shared_t plane,
                                                const uint4* weight, int tile, const Place& place) {
  const int pixel = place.lane & 15, half = place.lane >> 4;
  const shared_t at =
      plane + (place.row * S::SCALE * S::HIDDEN_COLUMNS + (place.column + pixel) * S::SCALE) * 2 * HIDDEN;
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const int tap = 2 * step + half;
    const shared_t vector = at + (tap / 3 * S::HIDDEN_COLUMNS + tap % 3) * 2 * HIDDEN;
    uint32_t b[COUNT][2];
    fetch_step<8, COUNT, S::SFT_RESIDENT>(b, weight, step, tile, place.lane);
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r) {
      uint32_t a[4];
      ldmatrix_x4(a, vector + r * S::SCALE * S::HIDDEN_COLUMNS * 2 * HIDDEN);
#pragma unroll
      for (int n = 0; n < COUNT; ++n) multiply(total[r][from + n], a, b[n][0], b[n][1]);
    }
  }
  uint32_t b[COUNT];
  fetch_rest<8, COUNT, S::SFT_RESIDENT>(b, weight, 4, tile, place.lane);
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r) {
    uint32_t a[2];
    ldmatrix_x2(a, at + ((2 + r * S::SCALE) * S::HIDDEN_COLUMNS + 2) * 2 * HIDDEN);
#pragma unroll
    for (int n = 0; n < COUNT; ++n) mma_k8(total[r][from + n], a[0], a[1], b[n]);
  }
}

// ---- Epilogue ------------------------------------------------------------------------------------------------------

// First of the lane's two channels of a tile among the block's.
template <class S> __device__ __forceinline__ int channel_of(int tile, int q) {
  return S::GROUP * 8 * (tile / S::GROUP) + 2 * S::GROUP * q + 2 * (tile % S::GROUP);
}

template <class S>
__device__ __forceinline__ void begin_sum(float (&sum)[S::ROWS][S::WARP_TILES][4], const float* bias,
                                          const Place& place) {
#pragma unroll
  for (int n = 0; n < S::WARP_TILES; ++n) {
    const float2 b = __ldg(reinterpret_cast<const float2*>(bias + channel_of<S>(place.tile + n, place.lane & 3)));
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r) sum[r][n][0] = sum[r][n][2] = b.x, sum[r][n][1] = sum[r][n][3] = b.y;
  }
}

// v = v * gain + shift, whose biases are 1 + gain's and shift's.
template <class S>
__device__ __forceinline__ void transform(float (&v)[S::ROWS][S::WARP_TILES][4], shared_t planes, const uint4* weight,
                                          const float* bias, const Place& place) {
  constexpr int PART = S::WARP_TILES < 4 ? S::WARP_TILES : 4;
#pragma unroll
  for (int part = 0; part < S::WARP_TILES / PART; ++part) {
    float gain[S::ROWS][PART][4];
#pragma unroll
    for (int n = 0; n < PART; ++n) {
      const int channel = channel_of<S>(place.tile + part * PART + n, place.lane & 3);
      const float2 b = __ldg(reinterpret_cast<const float2*>(bias + channel));
#pragma unroll
      for (int r = 0; r < S::ROWS; ++r) gain[r][n][0] = gain[r][n][2] = b.x, gain[r][n][1] = gain[r][n][3] = b.y;
    }
    multiply_hidden<S, PART>(gain, 0, planes, weight, place.tile + part * PART, place);
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
      for (int n = 0; n < PART; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) v[r][part * PART + n][i] *= gain[r][n][i];
  }
#pragma unroll
  for (int n = 0; n < S::WARP_TILES; ++n) {
    const float2 b = __ldg(reinterpret_cast<const float2*>(bias + 64 + channel_of<S>(place.tile + n, place.lane & 3)));
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r)
      v[r][n][0] += b.x, v[r][n][1] += b.y, v[r][n][2] += b.x, v[r][n][3] += b.y;
  }
  multiply_hidden<S, S::WARP_TILES>(v, 0, planes + S::PLANE_BYTES, weight + SFT_VECTORS, place.tile, place);
}

// Where the lane's pixels of a tile are in a map: pixel (r, h) is row r and column g + 8 h of the warp's.
struct Target {
  index_t first;      // number of pixel (0, 0)
  index_t down;       // pixels from a row to the next
  int right;          // pixels from h = 0 to h = 1
  int rows, columns;  // h of them that exist
  __device__ __forceinline__ bool has(int r, int h) const { return r < rows && h < columns; }
  __device__ __forceinline__ index_t operator()(int r, int h) const { return first + r * down + h * right; }
};

template <class S>
__device__ __forceinline__ void store_tile(const float (&v)[S::ROWS][S::WARP_TILES][4], half* out, int stride,
                                           const Target& target) {
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!target.has(r, h)) continue;
      half* at = out + target(r, h) * stride;
#pragma unroll
      for (int c = 0; c < S::GROUPS; ++c) {
        uint32_t words[S::GROUP];
#pragma unroll
        for (int k = 0; k < S::GROUP; ++k) {
          const float* pair = &v[r][c * S::GROUP + k][2 * h];
          words[k] = bits(__floats2half2_rn(pair[0], pair[1]));
        }
        store_halves(at + 8 * S::GROUP * c, words);
      }
    }
}

template <class S>
__device__ __forceinline__ void add_residual(float (&v)[S::ROWS][S::WARP_TILES][4], const half* residual, int stride,
                                             const Target& target) {
  uint32_t words[S::ROWS][2][S::GROUPS][S::GROUP];  // all are asked for before any is needed
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int c = 0; c < S::GROUPS; ++c) {
#pragma unroll
        for (int k = 0; k < S::GROUP; ++k) words[r][h][c][k] = 0;
        if (target.has(r, h)) load_halves(words[r][h][c], residual + target(r, h) * stride + 8 * S::GROUP * c);
      }
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int n = 0; n < S::WARP_TILES; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float2 each = floats(words[r][h][n / S::GROUP][n % S::GROUP]);
        v[r][n][2 * h] += each.x, v[r][n][2 * h + 1] += each.y;
      }
}

// Three channels: lanes with q = 0 have the first two, with q = 1 the third. `plane` is the number of pixels of a
// picture and `image` the picture's number.
template <class S>
__device__ __forceinline__ void store_three(const float (&v)[S::ROWS][S::WARP_TILES][4], void* out, const void* extra,
                                            int end, const Target& target, index_t image, index_t plane, int q) {
  if (q > 1) return;
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!target.has(r, h)) continue;
      const index_t pixel = target(r, h);
      float2 each = {v[r][0][2 * h], v[r][0][2 * h + 1]};
      if (end == PRODUCT) {
        const float2 by = floats(reinterpret_cast<const uint32_t*>(extra)[2 * pixel + q]);
        reinterpret_cast<float2*>(out)[2 * pixel + q] = {each.x * by.x, each.y * by.y};
        continue;
      }
      if (extra) {
        const float2 tone = reinterpret_cast<const float2*>(extra)[2 * pixel + q];
        each = {each.x + tone.x, each.y + tone.y};
      }
      if (end == PLANAR) {
        half* at = reinterpret_cast<half*>(out) + pixel + 2 * image * plane;  // 3 * image * plane + (pixel - image * plane)
        const half2 pair = __floats2half2_rn(each.x, each.y);
        at[2 * q * plane] = __low2half(pair);
        if (q == 0) at[plane] = __high2half(pair);
      } else {
        float* at = reinterpret_cast<float*>(out) + 3 * pixel + 2 * q;
        at[0] = each.x;
        if (q == 0) at[1] = each.y;
      }
    }
}

// ---- The kernel ----------------------------------------------------------------------------------------------------

// x        (batch, height, width, CHANNELS), interpolated to factor times the size if UPSAMPLE
// weight   from pack_weight, `chunks` times the block's channels
// out      maps of out_stride channels; or what `end` says of three channels
// extra    residual in out's layout (may be out itself), or the image (PRODUCT), or the tone map, or null
// second   null, or where the result of the SFT layer goes, while out gets what is before it
// hidden   null, or the layer's 16 hidden channels in a map of hidden_stride channels and out's size
// slope    of the activation below zero: 1 none, 0 ReLU
// Blocks take chunks of output channels in turn; the grid is a multiple of chunks.
#define PARAMETERS                                                                                                    \
  const half *x, const uint4 *weight, const float *bias, void *out, const void *extra, half *second,                  \
      const half *hidden, const uint4 *sft_weight, const float *sft_bias, int batch, int height, int width,           \
      int factor, int chunks, int out_stride, int hidden_stride, int end, float slope

template <class S> __device__ __forceinline__ void convolve(PARAMETERS) {
  uint4* memory = dynamic_shared();
  const shared_t base = shared_address(memory);
  const int warp = threadIdx.x >> 5;
  const int warp_n = warp % S::WARPS_N, warp_x = warp / S::WARPS_N % S::WARPS_X;
  const Place place = {(int)threadIdx.x & 31, warp / S::WARPS_N / S::WARPS_X * S::ROWS, warp_x * 16,
                       warp_n * S::WARP_TILES};
  const int chunk = (int)(blockIdx.x % chunks), blocks = (int)(gridDim.x / chunks);
  weight += chunk * (S::WEIGHT_BYTES / 16);
  bias += chunk * S::OUT;

  const int input_height = S::UPSAMPLE ? height * factor : height, input_width = S::UPSAMPLE ? width * factor : width;
  const int rows = (input_height - 1) / S::STRIDE + 1, columns = (input_width - 1) / S::STRIDE + 1;
  const int tiles_x = (columns + S::TILE_COLUMNS - 1) / S::TILE_COLUMNS;
  const int tiles_y = (rows + S::TILE_ROWS - 1) / S::TILE_ROWS;
  const index_t tiles = (index_t)tiles_x * tiles_y * batch;
  const index_t step = blocks;
  index_t tile = blockIdx.x / chunks;

  struct Tile {
    int image, top, left;
  };
  const auto locate = [&](index_t number) -> Tile {
    const int place_in_image = (int)(number % ((index_t)tiles_x * tiles_y));
    return {(int)(number / ((index_t)tiles_x * tiles_y)), place_in_image / tiles_x * S::TILE_ROWS,
            place_in_image % tiles_x * S::TILE_COLUMNS};
  };
  const auto begin_halo = [&](index_t number, int stage) {
    if (number < tiles) {
      const Tile t = locate(number);
      copy_halo<S>(base + S::HALO_AT + stage * S::HALO_BYTES, x + (index_t)t.image * height * width * S::CHANNELS,
                   t.top * S::STRIDE - 1, t.left * S::STRIDE - 1, height, width, S::UPSAMPLE ? factor : 1);
    }
    commit_copies();
  };

  begin_halo(tile, 0);
  if constexpr (S::RESIDENT) {
    for (int i = threadIdx.x; i < S::WEIGHT_BYTES / 16; i += S::THREADS) memory[i] = __ldg(weight + i);
    weight = memory;
  }
  if constexpr (S::SFT_RESIDENT) {
    if (hidden) {
      uint4* to = memory + S::SFT_AT / 16;
      for (int i = threadIdx.x; i < 2 * SFT_VECTORS; i += S::THREADS) to[i] = __ldg(sft_weight + i);
      sft_weight = to;
    }
  }

  for (int stage = 0; tile < tiles; tile += step, stage = S::STAGES - 1 - stage) {
    const Tile t = locate(tile);
    wait_copies<0>();
    __syncthreads();  // the halo is there, and nobody needs the other one or the hidden channels any more
    const int sy = S::SHUFFLE ? chunk >> 1 : 0, sx = S::SHUFFLE ? chunk & 1 : 0;
    if constexpr (S::SFT) {
      if (hidden)
        copy_hidden<S>(base + S::PLANES_AT,
                       hidden + (index_t)t.image * rows * S::SCALE * columns * S::SCALE * hidden_stride,
                       t.top * S::SCALE + sy - 1, t.left * S::SCALE + sx - 1, rows * S::SCALE, columns * S::SCALE,
                       hidden_stride);
      commit_copies();
    }
    if constexpr (S::STAGES == 2) begin_halo(tile + step, 1 - stage);

    float sum[S::ROWS][S::WARP_TILES][4];
    begin_sum<S>(sum, bias, place);
    multiply_halo<S>(sum, base + S::HALO_AT + stage * S::HALO_BYTES, weight, place);

    if constexpr (S::SFT) wait_copies<S::STAGES - 1>();
    if constexpr (S::SFT || S::STAGES == 1) __syncthreads();
    if constexpr (S::STAGES == 1) begin_halo(tile + step, 0);

    const int q = place.lane & 3, y = t.top + place.row, column = t.left + place.column + (place.lane >> 2);
    const index_t width_out = (index_t)columns * S::SCALE;
    const Target target = {((index_t)t.image * rows * S::SCALE + y * S::SCALE + sy) * width_out + column * S::SCALE + sx,
                           width_out * S::SCALE, 8 * S::SCALE, rows - y,
                           column + 8 < columns ? 2 : column < columns ? 1 : 0};
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
      for (int n = 0; n < S::WARP_TILES; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[r][n][i] = fmaxf(sum[r][n][i], slope * sum[r][n][i]);

    if constexpr (S::TILES == 1) {
      store_three<S>(sum, out, extra, end, target, t.image, (index_t)rows * columns, q);
    } else {
      const int channel = channel_of<S>(place.tile, q) + (S::SHUFFLE ? 0 : chunk * S::OUT);
      half* first = reinterpret_cast<half*>(out) + channel;
      if constexpr (S::SHUFFLE) {
        if (extra) add_residual<S>(sum, reinterpret_cast<const half*>(extra) + channel, out_stride, target);
      }
      if constexpr (S::SFT) {
        if (hidden) {
          if (second) store_tile<S>(sum, first, out_stride, target);
          transform<S>(sum, base + S::PLANES_AT, sft_weight, sft_bias, place);
          if (second) first = second + channel;
        }
      }
      store_tile<S>(sum, first, out_stride, target);
    }
  }
  wait_copies<0>();
}

#define CONVOLUTION(name, least_blocks, shared, ...)                                                                  \
  static_assert(Shape<__VA_ARGS__>::SHARED == shared, "convolution_table.py counts shared memory otherwise");         \
  extern "C" __global__ void __launch_bounds__(Shape<__VA_ARGS__>::THREADS, least_blocks) name(PARAMETERS) {          \
    convolve<Shape<__VA_ARGS__>>(x, weight, bias, out, extra, second, hidden, sft_weight, sft_bias, batch, height,    \
                                 width, factor, chunks, out_stride, hidden_stride, end, slope);                       \
  }
