// The deformable convolution residual block: z + dc2(SFT2(relu(dc1(SFT1(z))))), SFTi(v) = v + si * v + ti, 64 channels.
//
// Three launches a block: SFT1, then dc1 with ReLU and SFT2 as its epilogue, then dc2 with the residual as its epilogue.
// Each comes in FP16 (features NHWC, tensor cores) and in FP32 (features NCHW, CUDA cores, meant to be plain).
//
// A deformable convolution is an implicit matrix product of 9 taps x 64 channels. The FP16 kernel blends the four
// neighbours of every tap directly in the registers that mma.sync reads its A fragment from: no column buffer, no
// barrier. What bounds it is the bandwidth of L1 and shared memory, so all accesses to features are 16 bytes wide.
//
// Coordinates are FP32 everywhere, and they are clamped before they become integers: offsets of any size, infinite ones
// and NaN included, read inside the picture.
//
// Compiled by NVRTC for SM75 and up. Compiled by a host compiler, whoever does so supplies a <cuda_fp16.h> of their own
// with the few CUDA features used here.
#include <cuda_fp16.h>

#ifdef __CUDA_ARCH__
#define DCRB_SM (__CUDA_ARCH__ / 10)
typedef unsigned int uint32_t;

__device__ __forceinline__ uint4* dynamic_shared() {
  extern __shared__ uint4 memory[];
  return memory;
}

// c += a * b for a 16 x K tile a (row major) and a K x 8 tile b, spread over the warp as the PTX manual says.
#if DCRB_SM >= 80
__device__ __forceinline__ void mma_k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
__device__ __forceinline__ void mma_k8(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}
#endif
#endif

typedef long long index_t;

constexpr int CHANNELS = 64;
constexpr int TAPS = 9;
constexpr int THREADS = 256;

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
// A warp computes 4 x 8 output pixels (two m16 tiles) by 64 output channels, a block 16 x 16 pixels. Lane 4 g + q
// gathers rows g and g + 8 of an m16 tile and owns their channels 8q ... 8q+7 and 32+8q ... 32+8q+7: the permutation of
// input and output channels that makes this right is in the packed weights.

constexpr int M_TILES = 2;
constexpr int WARP_ROWS = 2 * M_TILES, WARP_COLUMNS = 8;
constexpr int BLOCK_ROWS = 4 * WARP_ROWS, BLOCK_COLUMNS = 2 * WARP_COLUMNS;
constexpr int TAP_VECTORS = CHANNELS * CHANNELS / 8;  // a tap's weights in uint4: [4 steps][4 tile pairs][32 lanes]

// 128-bit accesses have to be written as uint4: a struct of half2 is copied member by member.
struct Half8 {
  uint32_t pair[4];
};
__device__ __forceinline__ Half8 load8(const half* p) {
  const uint4 v = __ldg(reinterpret_cast<const uint4*>(p));
  return {{v.x, v.y, v.z, v.w}};
}
__device__ __forceinline__ void store8(half* p, const Half8& v) {
  *reinterpret_cast<uint4*>(p) = make_uint4(v.pair[0], v.pair[1], v.pair[2], v.pair[3]);
}
__device__ __forceinline__ uint32_t bits(half2 v) { return *reinterpret_cast<uint32_t*>(&v); }
__device__ __forceinline__ half2 halves(uint32_t v) { return *reinterpret_cast<half2*>(&v); }

__device__ __forceinline__ float2 apply_sft(float2 v, uint32_t scale, uint32_t shift) {
  const float2 s = __half22float2(halves(scale)), t = __half22float2(halves(shift));
  return {v.x + s.x * v.x + t.x, v.y + s.y * v.y + t.y};
}

// c += a * b over 16 input channels
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if DCRB_SM >= 80
  mma_k16(c, a, b0, b1);
#else
  mma_k8(c, a[0], a[1], b0);
  mma_k8(c, a[2], a[3], b1);
#endif
}

// Where the weights are while a block works. Nine taps fit into the shared memory of SM80 and up and stay there;
// before, two taps do, and while one is used the next one travels through registers.
struct Weights {
#if DCRB_SM >= 80
  const uint4* resident;
  __device__ __forceinline__ explicit Weights(const uint4* source) {
    uint4* memory = dynamic_shared();
    for (int i = threadIdx.x; i < TAPS * TAP_VECTORS; i += THREADS) memory[i] = __ldg(source + i);
    __syncthreads();
    resident = memory;
  }
  __device__ __forceinline__ const uint4* begin(int tap) { return resident + tap * TAP_VECTORS; }
  __device__ __forceinline__ void end() {}
#else
  static constexpr int SHARE = TAP_VECTORS / THREADS;
  const uint4* source;
  uint4* memory;
  uint4 next[SHARE];
  int buffer = 0;
  __device__ __forceinline__ explicit Weights(const uint4* source) : source(source), memory(dynamic_shared()) {
    fetch(0);
    put();
  }
  __device__ __forceinline__ void fetch(int tap) {
#pragma unroll
    for (int i = 0; i < SHARE; ++i) next[i] = __ldg(source + tap * TAP_VECTORS + i * THREADS + threadIdx.x);
  }
  __device__ __forceinline__ void put() {
#pragma unroll
    for (int i = 0; i < SHARE; ++i) memory[buffer * TAP_VECTORS + i * THREADS + threadIdx.x] = next[i];
    __syncthreads();
  }
  __device__ __forceinline__ const uint4* begin(int tap) {
    fetch(tap == TAPS - 1 ? 0 : tap + 1);  // after the last tap comes the first one of the next tile
    return memory + buffer * TAP_VECTORS;
  }
  __device__ __forceinline__ void end() {
    buffer ^= 1;
    put();
  }
#endif
};

enum Epilogue { RELU_SFT, RESIDUAL };

// RELU_SFT: out = SFT(relu(dc(x) + bias)) with gain e0 and shift e1. RESIDUAL: out = e0 + dc(x) + bias.
template <Epilogue EPILOGUE>
__device__ __forceinline__ void convolve_half(
    const half* __restrict__ x, const half* __restrict__ offset, const uint4* __restrict__ packed,
    const float* __restrict__ bias, const half* __restrict__ e0, const half* __restrict__ e1, half* __restrict__ out,
    int batch, int height, int width, index_t offset_image, index_t offset_channel, index_t offset_pixel) {
  Weights weights(packed);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, q = lane & 3, g = lane >> 2;
  const int columns = (width + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS, rows = (height + BLOCK_ROWS - 1) / BLOCK_ROWS;
  const index_t pixels = (index_t)height * width;
  const index_t tiles = (index_t)columns * rows * batch;
  for (index_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int image = (int)(tile / ((index_t)columns * rows)), place = (int)(tile % ((index_t)columns * rows));
    const int top = place / columns * BLOCK_ROWS + (warp >> 1) * WARP_ROWS;
    const int left = place % columns * BLOCK_COLUMNS + (warp & 1) * WARP_COLUMNS;
    const half* features = x + image * pixels * CHANNELS + 8 * q;  // the lane's first channels
    // Every lane works out the corners of one output pixel; the gather below takes them from there by shuffles.
    const int own_y = top + (lane >> 3), own_x = left + (lane & 7);
    const bool inside = own_y < height && own_x < width;
    const half* own_offset = offset + image * offset_image + ((index_t)own_y * width + own_x) * offset_pixel;
    float sum[M_TILES][8][4];
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[m][n][i] = 0.f;
#pragma unroll 1
    for (int tap = 0; tap < TAPS; ++tap) {
      float dy = 0.f, dx = 0.f;
      if (inside) {
        dy = __half2float(own_offset[2 * tap * offset_channel]);
        dx = __half2float(own_offset[(2 * tap + 1) * offset_channel]);
      }
      const Corners own = sample_at(own_y + tap / 3 - 1 + dy, own_x + tap % 3 - 1 + dx, height, width);
      const int own_step = own.right | own.down << 1;
      const uint32_t own_upper = bits(__floats2half2_rn(own.weight[0], own.weight[1]));
      const uint32_t own_lower = bits(__floats2half2_rn(own.weight[2], own.weight[3]));
      const uint4* b = weights.begin(tap) + lane;
#pragma unroll
      for (int m = 0; m < M_TILES; ++m) {
        uint32_t a[2][8];  // blended channels of the rows g and g + 8
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int from = m * 16 + r * 8 + g;
          const int pixel = __shfl_sync(~0u, own.pixel, from), step = __shfl_sync(~0u, own_step, from);
          const half2 upper = halves(__shfl_sync(~0u, own_upper, from));
          const half2 lower = halves(__shfl_sync(~0u, own_lower, from));
          const half2 weight[4] = {__low2half2(upper), __high2half2(upper), __low2half2(lower), __high2half2(lower)};
          const half* corner = features + (index_t)pixel * CHANNELS;
          const int right = (step & 1) * CHANNELS, down = (step >> 1) * width * CHANNELS;
          const half* corners[4] = {corner, corner + right, corner + down, corner + down + right};
          Half8 v[4][2];
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            v[c][0] = load8(corners[c]);
            v[c][1] = load8(corners[c] + 32);
          }
#pragma unroll
          for (int k = 0; k < 8; ++k) {
            half2 blend = __hmul2(halves(v[0][k >> 2].pair[k & 3]), weight[0]);
#pragma unroll
            for (int c = 1; c < 4; ++c) blend = __hfma2(halves(v[c][k >> 2].pair[k & 3]), weight[c], blend);
            a[r][k] = bits(blend);
          }
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const uint32_t fragment[4] = {a[0][2 * k], a[1][2 * k], a[0][2 * k + 1], a[1][2 * k + 1]};
#pragma unroll
          for (int n = 0; n < 4; ++n) {
            const uint4 w = b[(k * 4 + n) * 32];
            multiply(sum[m][2 * n], fragment, w.x, w.y);
            multiply(sum[m][2 * n + 1], fragment, w.z, w.w);
          }
        }
      }
      weights.end();
    }
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int p = m * 16 + r * 8 + g, y = top + (p >> 3), x = left + (p & 7);
        if (y >= height || x >= width) continue;
        const index_t at = (image * pixels + (index_t)y * width + x) * CHANNELS + 8 * q;
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const Half8 first = load8(e0 + at + 32 * c);
          Half8 second = {}, result;
          if (EPILOGUE == RELU_SFT) second = load8(e1 + at + 32 * c);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const float2 bias2 = __ldg(reinterpret_cast<const float2*>(bias + 32 * c + 8 * q + 2 * k));
            const float* total = &sum[m][4 * c + k][2 * r];
            float2 v = {total[0] + bias2.x, total[1] + bias2.y};
            if (EPILOGUE == RELU_SFT) {
              v = apply_sft({fmaxf(v.x, 0.f), fmaxf(v.y, 0.f)}, first.pair[k], second.pair[k]);
            } else {
              const float2 residual = __half22float2(halves(first.pair[k]));
              v = {v.x + residual.x, v.y + residual.y};
            }
            result.pair[k] = bits(__floats2half2_rn(v.x, v.y));
          }
          store8(out + at + 32 * c, result);
        }
      }
  }
}

// No minimum of blocks an SM: asked for one, ptxas takes all registers; asked for two, it spills.
extern "C" __global__ void __launch_bounds__(THREADS) dcrb_first_half(
    const half* x, const half* offset, const uint4* weight, const float* bias, const half* gain, const half* shift,
    half* out, int batch, int height, int width, index_t offset_image, index_t offset_channel, index_t offset_pixel) {
  convolve_half<RELU_SFT>(x, offset, weight, bias, gain, shift, out, batch, height, width, offset_image,
                          offset_channel, offset_pixel);
}

extern "C" __global__ void __launch_bounds__(THREADS) dcrb_second_half(
    const half* x, const half* offset, const uint4* weight, const float* bias, const half* residual, half* out,
    int batch, int height, int width, index_t offset_image, index_t offset_channel, index_t offset_pixel) {
  convolve_half<RESIDUAL>(x, offset, weight, bias, residual, nullptr, out, batch, height, width, offset_image,
                          offset_channel, offset_pixel);
}

// A thread takes eight elements; a feature map always has a multiple of 64.
extern "C" __global__ void __launch_bounds__(THREADS) dcrb_sft_half(const half* x, const half* gain,
                                                                     const half* shift, half* out, index_t elements) {
  const index_t at = ((index_t)blockIdx.x * THREADS + threadIdx.x) * 8;
  if (at >= elements) return;
  const Half8 v = load8(x + at), s = load8(gain + at), t = load8(shift + at);
  Half8 result;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float2 r = apply_sft(__half22float2(halves(v.pair[k])), s.pair[k], t.pair[k]);
    result.pair[k] = bits(__floats2half2_rn(r.x, r.y));
  }
  store8(out + at, result);
}

// ---- FP32, NCHW ----------------------------------------------------------------------------------------------------
//
// A block computes 2 x 32 output pixels: for one tap after the other, all threads blend the 64 channels of the 64
// pixels into shared memory, then each thread multiplies 4 pixels by 4 output channels.

constexpr int PLAIN_ROWS = 2, PLAIN_COLUMNS = 32, PLAIN_PIXELS = PLAIN_ROWS * PLAIN_COLUMNS;
constexpr int GATHERERS = THREADS / PLAIN_PIXELS;  // threads that share the channels of a pixel

template <Epilogue EPILOGUE>
__device__ __forceinline__ void convolve_float(
    const float* __restrict__ x, const float* __restrict__ offset, const float* __restrict__ weight,
    const float* __restrict__ bias, const float* __restrict__ e0, const float* __restrict__ e1, float* __restrict__ out,
    int height, int width, index_t offset_image, index_t offset_channel, index_t offset_pixel) {
  __shared__ float blended[CHANNELS][PLAIN_PIXELS];
  __shared__ float taken[CHANNELS][CHANNELS];  // the tap's weights, [in][out]
  const int columns = (width + PLAIN_COLUMNS - 1) / PLAIN_COLUMNS, rows = (height + PLAIN_ROWS - 1) / PLAIN_ROWS;
  const int image = blockIdx.x / (columns * rows), place = blockIdx.x % (columns * rows);
  const int top = place / columns * PLAIN_ROWS, left = place % columns * PLAIN_COLUMNS;
  const index_t pixels = (index_t)height * width;
  const float* features = x + image * pixels * CHANNELS;

  const int own = threadIdx.x % PLAIN_PIXELS, group = threadIdx.x / PLAIN_PIXELS;
  const int own_y = top + own / PLAIN_COLUMNS, own_x = left + own % PLAIN_COLUMNS;
  const bool inside = own_y < height && own_x < width;
  const float* own_offset = offset + image * offset_image + ((index_t)own_y * width + own_x) * offset_pixel;

  const int pixel4 = threadIdx.x % (PLAIN_PIXELS / 4) * 4, channel4 = threadIdx.x / (PLAIN_PIXELS / 4) * 4;
  float sum[4][4] = {};  // [channel][pixel]
#pragma unroll 1
  for (int tap = 0; tap < TAPS; ++tap) {
    float dy = 0.f, dx = 0.f;
    if (inside) {
      dy = __ldg(own_offset + 2 * tap * offset_channel);
      dx = __ldg(own_offset + (2 * tap + 1) * offset_channel);
    }
    const Corners at = sample_at(own_y + tap / 3 - 1 + dy, own_x + tap % 3 - 1 + dx, height, width);
    const int down = at.down * width;
#pragma unroll 4
    for (int c = group; c < CHANNELS; c += GATHERERS) {
      const float* corner = features + c * pixels + at.pixel;
      blended[c][own] = at.weight[0] * __ldg(corner) + at.weight[1] * __ldg(corner + at.right) +
                        at.weight[2] * __ldg(corner + down) + at.weight[3] * __ldg(corner + down + at.right);
    }
    const float* source = weight + tap * CHANNELS * CHANNELS;
    for (int i = threadIdx.x; i < CHANNELS * CHANNELS; i += THREADS) taken[i / CHANNELS][i % CHANNELS] = __ldg(source + i);
    __syncthreads();
#pragma unroll 8
    for (int c = 0; c < CHANNELS; ++c)
#pragma unroll
      for (int o = 0; o < 4; ++o)
#pragma unroll
        for (int p = 0; p < 4; ++p) sum[o][p] += taken[c][channel4 + o] * blended[c][pixel4 + p];
    __syncthreads();
  }
#pragma unroll
  for (int o = 0; o < 4; ++o)
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const int y = top + (pixel4 + p) / PLAIN_COLUMNS, x = left + (pixel4 + p) % PLAIN_COLUMNS;
      if (y >= height || x >= width) continue;
      const index_t at = ((index_t)image * CHANNELS + channel4 + o) * pixels + (index_t)y * width + x;
      float v = sum[o][p] + __ldg(bias + channel4 + o);
      if (EPILOGUE == RELU_SFT) {
        v = fmaxf(v, 0.f);
        v = v + __ldg(e0 + at) * v + __ldg(e1 + at);
      } else {
        v += __ldg(e0 + at);
      }
      out[at] = v;
    }
}

// The number of blocks says the batch here; the parameter keeps the signatures of both precisions alike.
extern "C" __global__ void __launch_bounds__(THREADS) dcrb_first_float(
    const float* x, const float* offset, const float* weight, const float* bias, const float* gain, const float* shift,
    float* out, int, int height, int width, index_t offset_image, index_t offset_channel, index_t offset_pixel) {
  convolve_float<RELU_SFT>(x, offset, weight, bias, gain, shift, out, height, width, offset_image, offset_channel,
                           offset_pixel);
}

extern "C" __global__ void __launch_bounds__(THREADS) dcrb_second_float(
    const float* x, const float* offset, const float* weight, const float* bias, const float* residual, float* out,
    int, int height, int width, index_t offset_image, index_t offset_channel, index_t offset_pixel) {
  convolve_float<RESIDUAL>(x, offset, weight, bias, residual, nullptr, out, height, width, offset_image,
                           offset_channel, offset_pixel);
}

extern "C" __global__ void __launch_bounds__(THREADS) dcrb_sft_float(const float* x, const float* gain,
                                                                      const float* shift, float* out, index_t elements) {
  const index_t at = (index_t)blockIdx.x * THREADS + threadIdx.x;
  if (at < elements) out[at] = x[at] + gain[at] * x[at] + shift[at];
}
