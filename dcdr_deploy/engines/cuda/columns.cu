// The two halves of a 3x3 deformable convolution that are no matrix product, for training: features NHWC in FP16, BF16
// or FP32, stride 1, padding 1. Between them stand matrix products of (pixels, 9 x channels), which the caller makes.
//
// - columns: what each output pixel's nine taps see, blended from the four neighbours of each.
// - spread: given the gradient of the columns, the gradients of features and offsets. In the gradient's place it leaves
//   the columns themselves, which the weights' gradient needs: nothing has to be kept from the forward pass.
// - scatter and turn: the same in two steps, for 64 channels. A pixel's features are seen by 36 neighbours of taps, and
//   so many additions to global memory are what spread takes its time for; scatter sums them up in shared memory.
//
// Eight lanes share a pixel; each takes eight channels at a time, 16 bytes in FP16, so that a neighbour of 64 channels
// is one whole line. Coordinates and sums are FP32. Coordinates are clamped before they become integers: offsets of any
// size, infinite ones and NaN included, stay inside the picture.
//
// Compiled by NVRTC for SM75 and up, and by a host compiler for the tests.
#include <cuda_fp16.h>

#ifdef __CUDA_ARCH__
__device__ __forceinline__ uint4* dynamic_shared() {
  extern __shared__ uint4 memory[];
  return memory;
}
#endif

typedef long long index_t;

constexpr int TAPS = 9;
constexpr int THREADS = 256;
constexpr int LANES = 8;    // that share a pixel
constexpr int VECTOR = 8;   // channels that a lane takes at a time

// ---- Eight channels of each type -----------------------------------------------------------------------------------

struct bfloat {
  unsigned short code;  // the upper half of a float
};

__device__ __forceinline__ float from_bits(unsigned bits) { return *reinterpret_cast<float*>(&bits); }
__device__ __forceinline__ unsigned to_bits(float value) { return *reinterpret_cast<unsigned*>(&value); }

// Two floats as BF16, the first in the lower half; rounds to nearest, ties to even.
__device__ __forceinline__ unsigned pack_bfloat(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  const float values[2] = {low, high};
  unsigned codes[2];
  for (int i = 0; i < 2; ++i) {
    const unsigned bits = to_bits(values[i]);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    codes[i] = nan ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  }
  return codes[0] | codes[1] << 16;
#endif
}

// FINAL: nobody writes there while the kernel runs, so that the read-only cache may hold it.
template <bool FINAL> __device__ __forceinline__ uint4 words_at(const uint4* from) { return FINAL ? __ldg(from) : *from; }

template <bool FINAL> __device__ __forceinline__ void load(const half* from, float (&to)[VECTOR]) {
  const uint4 words = words_at<FINAL>(reinterpret_cast<const uint4*>(from));
  const unsigned pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __half22float2(*reinterpret_cast<const half2*>(&pairs[i]));
    to[2 * i] = pair.x;
    to[2 * i + 1] = pair.y;
  }
}
template <bool FINAL> __device__ __forceinline__ void load(const bfloat* from, float (&to)[VECTOR]) {
  const uint4 words = words_at<FINAL>(reinterpret_cast<const uint4*>(from));
  const unsigned pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = from_bits(pairs[i] << 16);
    to[2 * i + 1] = from_bits(pairs[i] & 0xffff0000u);
  }
}
template <bool FINAL> __device__ __forceinline__ void load(const float* from, float (&to)[VECTOR]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 words = words_at<FINAL>(reinterpret_cast<const uint4*>(from) + i);
    to[4 * i] = from_bits(words.x);
    to[4 * i + 1] = from_bits(words.y);
    to[4 * i + 2] = from_bits(words.z);
    to[4 * i + 3] = from_bits(words.w);
  }
}

__device__ __forceinline__ unsigned pack_half(float low, float high) {
  const half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&pair);
}
__device__ __forceinline__ void store(half* to, const float (&v)[VECTOR]) {
  *reinterpret_cast<uint4*>(to) =
      make_uint4(pack_half(v[0], v[1]), pack_half(v[2], v[3]), pack_half(v[4], v[5]), pack_half(v[6], v[7]));
}
__device__ __forceinline__ void store(bfloat* to, const float (&v)[VECTOR]) {
  *reinterpret_cast<uint4*>(to) =
      make_uint4(pack_bfloat(v[0], v[1]), pack_bfloat(v[2], v[3]), pack_bfloat(v[4], v[5]), pack_bfloat(v[6], v[7]));
}
__device__ __forceinline__ void store(float* to, const float (&v)[VECTOR]) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
    reinterpret_cast<uint4*>(to)[i] =
        make_uint4(to_bits(v[4 * i]), to_bits(v[4 * i + 1]), to_bits(v[4 * i + 2]), to_bits(v[4 * i + 3]));
}

// ---- Sampling ------------------------------------------------------------------------------------------------------

// The four neighbours of a sampling position. Those outside the picture are moved to its border and weigh nothing.
struct Sample {
  int y, x;                          // of the upper left neighbour before it is moved
  int pixel;                         // index of the upper left neighbour
  int right, down;                   // distance to the others in pixels: 0 or 1, 0 or the width
  float upper, lower, left, right_;  // linear weights of rows and columns
  float has_upper, has_lower, has_left, has_right;  // 1 for a row or column inside the picture, else 0
};

__device__ __forceinline__ Sample sample_at(float y, float x, int height, int width) {
  // fmaxf and fminf return the number where the other argument is NaN: a NaN ends at -2, outside.
  const float fy = fminf(fmaxf(y, -2.f), height + 1.f), fx = fminf(fmaxf(x, -2.f), width + 1.f);
  const int iy = __float2int_rd(fy), ix = __float2int_rd(fx);
  const float ay = fy - iy, ax = fx - ix;
  Sample at;
  at.y = iy;
  at.x = ix;
  at.has_upper = (unsigned)iy < (unsigned)height ? 1.f : 0.f;
  at.has_lower = (unsigned)(iy + 1) < (unsigned)height ? 1.f : 0.f;
  at.has_left = (unsigned)ix < (unsigned)width ? 1.f : 0.f;
  at.has_right = (unsigned)(ix + 1) < (unsigned)width ? 1.f : 0.f;
  at.upper = at.has_upper * (1.f - ay);
  at.lower = at.has_lower * ay;
  at.left = at.has_left * (1.f - ax);
  at.right_ = at.has_right * ax;
  const int y0 = min(max(iy, 0), height - 1), y1 = min(max(iy + 1, 0), height - 1);
  const int x0 = min(max(ix, 0), width - 1), x1 = min(max(ix + 1, 0), width - 1);
  at.pixel = y0 * width + x0;
  at.right = x1 - x0;
  at.down = (y1 - y0) * width;
  return at;
}

// Which output pixel a lane works on. Lanes behind the last pixel work on it too, and keep the result for themselves.
struct Place {
  unsigned pixel;  // among all images
  bool inside;
  int lane, image, row, column;
  __device__ __forceinline__ Place(unsigned pixels, int height, int width) {
    const unsigned own = blockIdx.x * (unsigned)(THREADS / LANES) + threadIdx.x / LANES;
    inside = own < pixels;
    pixel = inside ? own : pixels - 1;
    lane = threadIdx.x % LANES;
    const unsigned area = (unsigned)height * width, within = pixel % area;
    image = pixel / area;
    row = within / width;
    column = within % width;
  }
  __device__ __forceinline__ Sample sample(const float* offset, int tap, int height, int width) const {
    const float2 shift = __ldg(reinterpret_cast<const float2*>(offset + (index_t)pixel * 2 * TAPS) + tap);
    return sample_at(row + tap / 3 - 1 + shift.x, column + tap % 3 - 1 + shift.y, height, width);
  }
};

// ---- Kernels -------------------------------------------------------------------------------------------------------

template <class T>
__device__ __forceinline__ void gather(const T* __restrict__ x, const float* __restrict__ offset,
                                       T* __restrict__ columns, unsigned pixels, int height, int width, int channels) {
  const Place place(pixels, height, width);
  if (!place.inside) return;
  const T* features = x + (index_t)place.image * height * width * channels;
  T* out = columns + (index_t)place.pixel * TAPS * channels;
#pragma unroll(sizeof(T) == 4 ? 1 : 3)  // as many as registers hold
  for (int tap = 0; tap < TAPS; ++tap) {
    const Sample at = place.sample(offset, tap, height, width);
    const float weight[4] = {at.upper * at.left, at.upper * at.right_, at.lower * at.left, at.lower * at.right_};
    for (int c = place.lane * VECTOR; c < channels; c += LANES * VECTOR) {
      const T* corner = features + (index_t)at.pixel * channels + c;
      float v[4][VECTOR], blend[VECTOR];
      load<true>(corner, v[0]);
      load<true>(corner + at.right * channels, v[1]);
      load<true>(corner + (index_t)at.down * channels, v[2]);
      load<true>(corner + (index_t)(at.down + at.right) * channels, v[3]);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i)
        blend[i] = weight[0] * v[0][i] + weight[1] * v[1][i] + weight[2] * v[2][i] + weight[3] * v[3][i];
      store(out + tap * channels + c, blend);
    }
  }
}

// Adds to four numbers in global memory, which are aligned to 16 bytes.
__device__ __forceinline__ void add4(float* to, float a, float b, float c, float d) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
#else
  atomicAdd(to, a);
  atomicAdd(to + 1, b);
  atomicAdd(to + 2, c);
  atomicAdd(to + 3, d);
#endif
}

// Adds eight channels times a weight to global memory.
__device__ __forceinline__ void add(float* to, const float (&v)[VECTOR], float weight) {
  if (weight == 0.f) return;
#pragma unroll
  for (int i = 0; i < VECTOR; i += 4)
    add4(to + i, weight * v[i], weight * v[i + 1], weight * v[i + 2], weight * v[i + 3]);
}

__device__ __forceinline__ float sum_over_lanes(float value) {
#pragma unroll
  for (int step = LANES / 2; step; step /= 2)
    value += __shfl_sync(0xffffffffu, value, (threadIdx.x & 31) ^ step);
  return value;
}

// SCATTER: the features' gradient is made here as well.
template <bool SCATTER, class T>
__device__ __forceinline__ void spread(const T* __restrict__ x, const float* __restrict__ offset, T* columns,
                                       float* grad_x, float* __restrict__ grad_offset, unsigned pixels, int height,
                                       int width, int channels) {
  const Place place(pixels, height, width);
  const index_t image = (index_t)place.image * height * width * channels;
  T* own = columns + (index_t)place.pixel * TAPS * channels;
#pragma unroll 1
  for (int tap = 0; tap < TAPS; ++tap) {
    const Sample at = place.sample(offset, tap, height, width);
    const float weight[4] = {at.upper * at.left, at.upper * at.right_, at.lower * at.left, at.lower * at.right_};
    float dot[4] = {};  // of the gradient with each neighbour, over the lane's channels
    if (place.inside)
      for (int c = place.lane * VECTOR; c < channels; c += LANES * VECTOR) {
        const index_t corner[4] = {
            image + (index_t)at.pixel * channels + c, image + (index_t)(at.pixel + at.right) * channels + c,
            image + (index_t)(at.pixel + at.down) * channels + c,
            image + (index_t)(at.pixel + at.down + at.right) * channels + c};
        float v[4][VECTOR], grad[VECTOR], blend[VECTOR];
        load<false>(own + tap * channels + c, grad);
#pragma unroll
        for (int k = 0; k < 4; ++k) load<true>(x + corner[k], v[k]);
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) {
          blend[i] = weight[0] * v[0][i] + weight[1] * v[1][i] + weight[2] * v[2][i] + weight[3] * v[3][i];
#pragma unroll
          for (int k = 0; k < 4; ++k) dot[k] += grad[i] * v[k][i];
        }
        store(own + tap * channels + c, blend);
        if (SCATTER)
#pragma unroll
          for (int k = 0; k < 4; ++k) add(grad_x + corner[k], grad, weight[k]);
      }
    const float by_y = at.has_lower * (at.left * dot[2] + at.right_ * dot[3]) -
                       at.has_upper * (at.left * dot[0] + at.right_ * dot[1]);
    const float by_x = at.has_right * (at.upper * dot[1] + at.lower * dot[3]) -
                       at.has_left * (at.upper * dot[0] + at.lower * dot[2]);
    const float2 sums = {sum_over_lanes(by_y), sum_over_lanes(by_x)};
    if (place.inside && place.lane == 0)
      reinterpret_cast<float2*>(grad_offset + (index_t)place.pixel * 2 * TAPS)[tap] = sums;
  }
}

// The features' gradient for 64 channels. A block takes a tile of output pixels and sums in shared memory what falls
// into the window around it, which is what offsets below REACH pixels reach; the rest goes to global memory at once.
//
// A warp owns 16 channels of the window, so that no two warps add to the same number. A lane owns two of them for one of
// a sample's four neighbours, which are four different places.
constexpr int WIDTH = 64;
constexpr int SCATTER_THREADS = 128;
constexpr int TILE = 8;  // rows and columns
constexpr int REACH = 2;
constexpr int WINDOW = TILE + 2 * REACH + 2;
constexpr int SLICE = WIDTH / (SCATTER_THREADS / 32);  // channels of a warp
constexpr int ROUND = 16;                              // pixels whose samples are worked out at a time
constexpr int PLACES = WINDOW * WINDOW;
constexpr int NOWHERE = PLACES;  // a place for what weighs nothing: lanes overwrite each other there

// What a sample's gradient adds to one of its neighbours.
struct Share {
  int place;  // in the window, or -1 - the pixel's index in the picture, where the window does not reach, or NOWHERE
  float weight;
};

__device__ __forceinline__ float2 load_pair(const half* from) {
  return __half22float2(__ldg(reinterpret_cast<const half2*>(from)));
}
__device__ __forceinline__ float2 load_pair(const bfloat* from) {
  const unsigned pair = __ldg(reinterpret_cast<const unsigned*>(from));
  return {from_bits(pair << 16), from_bits(pair & 0xffff0000u)};
}
__device__ __forceinline__ float2 load_pair(const float* from) { return __ldg(reinterpret_cast<const float2*>(from)); }

// Works out what the samples of ROUND pixels of a tile add to; those outside the picture add nothing.
__device__ __forceinline__ void share_out(Share* shares, const float* offset, index_t first, int top, int left, int from,
                                          int height, int width) {
  for (int i = threadIdx.x; i < ROUND * TAPS; i += SCATTER_THREADS) {
    const int pixel = from + i / TAPS, tap = i % TAPS, row = top + pixel / TILE, column = left + pixel % TILE;
    Share own[4] = {{NOWHERE, 0.f}, {NOWHERE, 0.f}, {NOWHERE, 0.f}, {NOWHERE, 0.f}};
    if (row < height && column < width) {
      const index_t place = first + (index_t)row * width + column;
      const float2 shift = __ldg(reinterpret_cast<const float2*>(offset + place * 2 * TAPS) + tap);
      const Sample at = sample_at(row + tap / 3 - 1 + shift.x, column + tap % 3 - 1 + shift.y, height, width);
      const float weight[4] = {at.upper * at.left, at.upper * at.right_, at.lower * at.left, at.lower * at.right_};
      const int y = at.y - (top - 1 - REACH), x = at.x - (left - 1 - REACH);
      const bool near = (unsigned)y < WINDOW - 1u && (unsigned)x < WINDOW - 1u;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (weight[k] == 0.f) continue;  // a neighbour outside the picture, too
        const int far = at.pixel + (k & 1 ? at.right : 0) + (k & 2 ? at.down : 0);
        own[k] = {near ? (y + k / 2) * WINDOW + x + k % 2 : -1 - far, weight[k]};
      }
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) shares[4 * i + k] = own[k];
  }
}

template <class T>
__device__ __forceinline__ void scatter(const T* __restrict__ columns, const float* __restrict__ offset, float* grad_x,
                                        int height, int width) {
  float* window = reinterpret_cast<float*>(dynamic_shared());  // [4 slices][places and NOWHERE][16 channels]
  Share* shares = reinterpret_cast<Share*>(window + (PLACES + 1) * WIDTH);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, corner = lane >> 3, own = warp * SLICE + (lane & 7) * 2;
  float* slice = window + warp * (PLACES + 1) * SLICE + (lane & 7) * 2;
  const int across = (width + TILE - 1) / TILE, down = (height + TILE - 1) / TILE;
  const int image = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
  const int top = tile / across * TILE, left = tile % across * TILE;
  const index_t first = (index_t)image * height * width;
  float* picture = grad_x + first * WIDTH;
  for (int i = threadIdx.x; i < (PLACES + 1) * WIDTH; i += SCATTER_THREADS) window[i] = 0.f;
#pragma unroll 1
  for (int from = 0; from < TILE * TILE; from += ROUND) {
    __syncthreads();
    share_out(shares, offset, first, top, left, from, height, width);
    __syncthreads();
#pragma unroll 1
    for (int i = 0; i < ROUND; ++i) {
      const int row = top + (from + i) / TILE, column = left + (from + i) % TILE;
      if (row >= height || column >= width) continue;
      const T* gradient = columns + (first + (index_t)row * width + column) * TAPS * WIDTH + own;
      // All of them before the first sum: what waits for memory waits once.
      float2 v[TAPS];
      Share share[TAPS];
      bool far = false;
#pragma unroll
      for (int tap = 0; tap < TAPS; ++tap) {
        v[tap] = load_pair(gradient + tap * WIDTH);
        share[tap] = shares[4 * (i * TAPS + tap) + corner];
        far |= share[tap].place < 0;
      }
      if (__any_sync(0xffffffffu, far)) {
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
          if (share[tap].place >= 0) continue;
          float* to = picture + (index_t)(-1 - share[tap].place) * WIDTH + own;
          atomicAdd(to, share[tap].weight * v[tap].x);
          atomicAdd(to + 1, share[tap].weight * v[tap].y);
          share[tap].place = NOWHERE;
        }
        __syncwarp();
      }
#pragma unroll
      for (int tap = 0; tap < TAPS; ++tap) {
        float2* sum = reinterpret_cast<float2*>(slice + share[tap].place * SLICE);
        const float2 before = *sum;
        *sum = {before.x + share[tap].weight * v[tap].x, before.y + share[tap].weight * v[tap].y};
        __syncwarp();  // the next sample's neighbours may be the same places for other lanes
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < PLACES * (WIDTH / 4); i += SCATTER_THREADS) {
    const int place = i / (WIDTH / 4), quad = i % (WIDTH / 4) * 4;
    const int y = top - 1 - REACH + place / WINDOW, x = left - 1 - REACH + place % WINDOW;
    if ((unsigned)y >= (unsigned)height || (unsigned)x >= (unsigned)width) continue;
    const float* sums = window + (quad / SLICE * (PLACES + 1) + place) * SLICE + quad % SLICE;
    add4(picture + ((index_t)y * width + x) * WIDTH + quad, sums[0], sums[1], sums[2], sums[3]);
  }
}

#define KERNELS(T, name)                                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS) columns_##name(                                               \
      const T* x, const float* offset, T* columns, int pixels, int height, int width, int channels) {                 \
    gather(x, offset, columns, pixels, height, width, channels);                                                      \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS) spread_##name(                                                \
      const T* x, const float* offset, T* columns, float* grad_x, float* grad_offset, int pixels, int height,         \
      int width, int channels) {                                                                                      \
    spread<true>(x, offset, columns, grad_x, grad_offset, pixels, height, width, channels);                           \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(SCATTER_THREADS) scatter_##name(                                       \
      const T* columns, const float* offset, float* grad_x, int height, int width) {                                  \
    scatter(columns, offset, grad_x, height, width);                                                                  \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS) turn_##name(                                                  \
      const T* x, const float* offset, T* columns, float* grad_offset, int pixels, int height, int width,             \
      int channels) {                                                                                                 \
    spread<false>(x, offset, columns, nullptr, grad_offset, pixels, height, width, channels);                         \
  }
KERNELS(half, half)
KERNELS(bfloat, bfloat)
KERNELS(float, float)
