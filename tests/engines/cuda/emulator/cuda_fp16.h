// The few CUDA features that the kernels use, for a host compiler: stands in for NVIDIA's header of the same name.
//
// Threads are fibers. Those of a warp run one after the other up to the next point where CUDA makes them wait for each
// other (a shuffle, an mma); a warp runs up to its next barrier before the next warp starts. The scheduler
// (emulator.cpp) checks that the threads of a warp wait at the same kind of point.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // one block runs at a time

using std::max;
using std::min;

struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct index3 { unsigned x; };
struct half { uint16_t code; };
struct half2 { half x, y; };

namespace emulator {
enum Point {
  RUNNING, ENDED, BARRIER, TOGETHER, SHUFFLE, SHUFFLED, MMA, MULTIPLIED, MATRIX, MATRIX_READ, WGMMA, WGMMA_BEGUN, WGMMA_READ,
  WGMMA_DONE
};
void wait(Point point);
void meet(int number, unsigned threads);  // at a barrier by its number; 0 is all threads'
struct Mail {  // what a thread shows to the others of its warp
  uint32_t word;
  const char* row;
};
extern std::vector<Mail> mails;
inline Mail& mailbox(unsigned thread) { return mails[thread]; }
uint4* shared_memory();
// Asynchronous copies: kept back until a wait asks for them, as late as a GPU may make them.
void begin_copy(void* to, const void* from, int bytes);  // zeros where from is null
void commit_copies();
void wait_copies(unsigned pending);
// Half and float by hand: the host compiler need not have a half type.
extern const std::vector<float> FLOATS;  // of all halves
inline float to_float(half value) { return FLOATS[value.code]; }
inline half to_half(float value) {  // rounds to nearest, ties to even
  uint32_t word;
  memcpy(&word, &value, 4);
  const uint16_t sign = word >> 16 & 0x8000;
  word &= 0x7fffffff;
  if (word > 0x7f800000) return {(uint16_t)(sign | 0x7e00)};
  if (word >= 0x477ff000) return {(uint16_t)(sign | 0x7c00)};  // from halfway above the largest half
  if (word < 0x38800000) {                                     // subnormal: let the addition round
    float magnitude;
    memcpy(&magnitude, &word, 4);
    const float aligned = magnitude + 0.5f;  // a unit in the last place of 0.5 is the smallest half
    memcpy(&word, &aligned, 4);
    return {(uint16_t)(sign | (word - 0x3f000000))};
  }
  word += 0xfff + (word >> 13 & 1) - 0x38000000;
  return {(uint16_t)(sign | word >> 13)};
}
}  // namespace emulator

extern index3 threadIdx, blockIdx, blockDim, gridDim;

inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4* dynamic_shared() { return emulator::shared_memory(); }
template <class T> T __ldg(const T* p) {
  T value;
  memcpy(&value, p, sizeof value);
  return value;
}

inline int __float2int_rd(float v) {  // as the GPU does it, where C++ leaves it undefined
  if (std::isnan(v)) return 0;
  const float down = std::floor(v);
  return down >= 0x1p31f ? INT32_MAX : down < -0x1p31f ? INT32_MIN : (int)down;
}
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __half2float(half v) { return emulator::to_float(v); }
inline float2 __half22float2(half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline half2 __floats2half2_rn(float x, float y) { return {emulator::to_half(x), emulator::to_half(y)}; }
inline half2 __low2half2(half2 v) { return {v.x, v.x}; }
inline half2 __high2half2(half2 v) { return {v.y, v.y}; }
inline half __low2half(half2 v) { return v.x; }
inline half __high2half(half2 v) { return v.y; }
inline half2 __hfma2(half2 a, half2 b, half2 c) {
  const float2 fa = __half22float2(a), fb = __half22float2(b), fc = __half22float2(c);
  return __floats2half2_rn(fa.x * fb.x + fc.x, fa.y * fb.y + fc.y);
}
inline half2 __hmul2(half2 a, half2 b) {
  const float2 fa = __half22float2(a), fb = __half22float2(b);
  return __floats2half2_rn(fa.x * fb.x, fa.y * fb.y);
}

inline void __syncthreads() { emulator::meet(0, 0); }
template <int THREADS> void meet(int number) { emulator::meet(number, THREADS); }
template <class T> void atomicAdd(T* to, T value) { *to += value; }  // one thread runs at a time

inline void __syncwarp() { emulator::wait(emulator::TOGETHER); }
inline int again(int number) { return number; }
inline void prefetch(const half*) {}
inline void store16(half* p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  *reinterpret_cast<uint4*>(p) = make_uint4(a, b, c, d);
}
template <class T> T __shfl_sync(unsigned, T value, int from) {
  static_assert(sizeof(T) == 4, "a shuffle moves 32 bits");
  const unsigned me = threadIdx.x;
  memcpy(&emulator::mailbox(me).word, &value, 4);
  emulator::wait(emulator::SHUFFLE);
  memcpy(&value, &emulator::mailbox((me & ~31u) | from).word, 4);
  emulator::wait(emulator::SHUFFLED);
  return value;
}

inline int __any_sync(unsigned, int predicate) {
  int any = 0;
  for (int lane = 0; lane < 32; ++lane) any |= __shfl_sync(0xffffffffu, predicate, lane);
  return any;
}

// c += a * b, a 16 x 8 HALVES, b 8 HALVES x 8, with the lanes' shares as in the PTX manual's figures of mma.m16n8k8 and
// mma.m16n8k16: lane 4 g + q has of a the rows g and g + 8, of b and c the columns g, and 2q and 2q + 1.
namespace emulator {
struct Operands {  // of the warp that runs, in FP32
  float left[8][16][2];       // by g and k: rows g and g + 8
  float right[8][4][16][2];   // by tile of eight columns, q and k: columns 2q and 2q + 1
  bool right_is_there;
};
inline Operands operands;

template <int HALVES> void show_left(const uint32_t (&a)[2 * HALVES]) {
  const unsigned lane = threadIdx.x & 31, q = lane & 3, g = lane >> 2;
  for (int half = 0; half < HALVES; ++half)
    for (int row = 0; row < 2; ++row)
      for (int i = 0; i < 2; ++i)
        operands.left[g][8 * half + 2 * q + i][row] = to_float({(uint16_t)(a[2 * half + row] >> (16 * i))});
}

// Adds to this lane's four values of a tile: (row, column) of (0, 0), (0, 1), (1, 0), (1, 1).
template <int HALVES> void multiply(float (&c)[4], int tile) {
  typedef float four __attribute__((vector_size(16)));
  const unsigned lane = threadIdx.x & 31;
  const auto &rows = operands.left[lane >> 2], &columns = operands.right[tile][lane & 3];
  four sum = {};
  for (int k = 0; k < 8 * HALVES; ++k) {
    const four left = {rows[k][0], rows[k][0], rows[k][1], rows[k][1]};
    const four right = {columns[k][0], columns[k][1], columns[k][0], columns[k][1]};
    sum += left * right;
  }
  for (int i = 0; i < 4; ++i) c[i] += sum[i];
}
}  // namespace emulator

template <int HALVES> void emulated_mma(float (&c)[4], const uint32_t (&a)[2 * HALVES], const uint32_t (&b)[HALVES]) {
  const unsigned lane = threadIdx.x & 31, q = lane & 3, g = lane >> 2;
  emulator::show_left<HALVES>(a);
  for (int half = 0; half < HALVES; ++half)
    for (int i = 0; i < 2; ++i)
      emulator::operands.right[0][g / 2][8 * half + 2 * q + i][g % 2] =
          emulator::to_float({(uint16_t)(b[half] >> (16 * i))});
  emulator::wait(emulator::MMA);
  emulator::multiply<HALVES>(c, 0);
  emulator::wait(emulator::MULTIPLIED);
}
inline void mma_k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulated_mma<2>(c, a, {b0, b1});
}
inline void mma_k8(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) { emulated_mma<1>(c, {a0, a1}, {b}); }

// Addresses in shared memory and what takes them: ldmatrix, cp.async.
typedef char* shared_t;
inline shared_t shared_address(const void* p) { return (shared_t)p; }
inline uint32_t load_shared(shared_t at) { return __ldg((const uint32_t*)at); }
inline void store_shared(shared_t at, uint4 v) { memcpy(at, &v, 16); }
inline float load_float(shared_t at) { return __ldg((const float*)at); }
inline void store_shared(shared_t at, float value) { memcpy(at, &value, 4); }

// Lane 8 i + j shows row j of matrix i; lane 4 g + q gets the halves 2q and 2q + 1 of row g of each.
template <int MATRICES> void emulated_ldmatrix(uint32_t (&r)[MATRICES], shared_t row) {
  const unsigned me = threadIdx.x, warp = me & ~31u, q = me & 3, g = (me & 31) >> 2;
  emulator::mailbox(me).row = row;
  emulator::wait(emulator::MATRIX);
  for (int i = 0; i < MATRICES; ++i) memcpy(&r[i], emulator::mailbox(warp + 8 * i + g).row + 4 * q, 4);
  emulator::wait(emulator::MATRIX_READ);
}
inline void ldmatrix_x4(uint32_t (&r)[4], shared_t row) { emulated_ldmatrix(r, row); }
inline void ldmatrix_x2(uint32_t (&r)[2], shared_t row) { emulated_ldmatrix(r, row); }

inline void copy16(shared_t to, const void* from, bool valid) { emulator::begin_copy(to, valid ? from : nullptr, 16); }
inline void copy8(shared_t to, const void* from, bool valid) { emulator::begin_copy(to, valid ? from : nullptr, 8); }
inline void commit_copies() { emulator::commit_copies(); }
template <int PENDING> void wait_copies() { emulator::wait_copies(PENDING); }
inline void copy_async(uint4* to, const half* from, bool valid) { emulator::begin_copy(to, valid ? from : nullptr, 16); }
inline void wait_for_copies() {
  emulator::commit_copies();
  emulator::wait_copies(0);
}

#include "async_proxy.h"
