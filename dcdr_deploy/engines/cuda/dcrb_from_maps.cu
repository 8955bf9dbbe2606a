// The deformable convolution residual block: z + dc2(SFT2(relu(dc1(SFT1(z))))), SFTi(v) = v + si * v + ti, 64 channels,
// from maps of gain and shift.
//
// Three launches a block: SFT1, then dc1 with ReLU and SFT2 as its epilogue, then dc2 with the residual as its epilogue.
// Each comes in FP16 (features NHWC, tensor cores, see deform.cuh) and in FP32 (features NCHW, CUDA cores, meant to be
// plain).
#include "deform.cuh"

constexpr int THREADS = 256;
constexpr Gathering GATHERING = HALVES;
constexpr bool AHEAD = true;

enum Epilogue { RELU_SFT, RESIDUAL };

// ---- FP16, NHWC ----------------------------------------------------------------------------------------------------

__device__ __forceinline__ float2 apply_sft(float2 v, uint32_t scale, uint32_t shift) {
  const float2 s = __half22float2(halves(scale)), t = __half22float2(halves(shift));
  return {v.x + s.x * v.x + t.x, v.y + s.y * v.y + t.y};
}

// RELU_SFT: out = SFT(relu(dc(x) + bias)) with gain e0 and shift e1. RESIDUAL: out = e0 + dc(x) + bias.
template <Epilogue EPILOGUE>
__device__ __forceinline__ void convolve_half(
    const half* __restrict__ x, const half* __restrict__ offset, const uint4* __restrict__ packed,
    const float* __restrict__ bias, const half* __restrict__ e0, const half* __restrict__ e1, half* __restrict__ out,
    int batch, int height, int width, index_t offset_image, index_t offset_channel, index_t offset_pixel) {
  WarpWeights<THREADS> weights(packed, dynamic_shared());
  const Tiles<THREADS> tiles(batch, height, width);
  const index_t pixels = (index_t)height * width;
  for (int tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
    const Warp warp = tiles.at(tile, threadIdx.x);
    // What the epilogue reads is asked of the L2 now.
    const int own_y = warp.own_y(), own_x = warp.own_x();
    const index_t own = (index_t)own_y * width + own_x;
#ifdef __CUDA_ARCH__
    if (own_y < height && own_x < width) {
      prefetch(e0 + (warp.image * pixels + own) * CHANNELS);
      if (EPILOGUE == RELU_SFT) prefetch(e1 + (warp.image * pixels + own) * CHANNELS);
    }
#endif
    const StridedOffsets offsets = {offset + warp.image * offset_image + own * offset_pixel, offset_channel};
    Sums sum;
    clear(sum);
    convolve<GATHERING, AHEAD>(sum, weights, reinterpret_cast<const uint4*>(x + warp.image * pixels * CHANNELS), offsets, warp,
                        height, width);
    for_rows(warp, height, width, [&](int m, int r, index_t near, index_t far, bool swapped) {
      const Half8 first[2] = {load8(e0 + near), load8(e0 + far)};
      Half8 second[2] = {}, result[2];
      if (EPILOGUE == RELU_SFT) second[0] = load8(e1 + near), second[1] = load8(e1 + far);
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const Half8 one = pick(swapped, first[c], first[1 - c]), two = pick(swapped, second[c], second[1 - c]);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float2 bias2 = __ldg(reinterpret_cast<const float2*>(bias + 32 * c + 8 * (warp.lane & 3) + 2 * k));
          const float* total = &sum[m][4 * c + k][2 * r];
          float2 v = {total[0] + bias2.x, total[1] + bias2.y};
          if (EPILOGUE == RELU_SFT) {
            v = apply_sft({fmaxf(v.x, 0.f), fmaxf(v.y, 0.f)}, one.pair[k], two.pair[k]);
          } else {
            const float2 residual = __half22float2(halves(one.pair[k]));
            v = {v.x + residual.x, v.y + residual.y};
          }
          result[c].pair[k] = bits(__floats2half2_rn(v.x, v.y));
        }
      }
      store8(out + near, pick(swapped, result[0], result[1]));
      store8(out + far, pick(swapped, result[1], result[0]));
    });
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
