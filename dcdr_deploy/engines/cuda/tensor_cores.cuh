// What kernels on tensor cores are made of: products, their operands from shared memory, asynchronous copies to it.
//
// Compiled by NVRTC for SM75 and up. A host compiler gets these functions from whoever supplies <cuda_fp16.h>.
#include "mma.cuh"

#ifdef __CUDA_ARCH__
typedef uint32_t shared_t;  // an address in shared memory

__device__ __forceinline__ shared_t shared_address(const void* p) { return (shared_t)__cvta_generic_to_shared(p); }

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

__device__ __forceinline__ float load_float(shared_t at) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(at));
  return value;
}
__device__ __forceinline__ void store_shared(shared_t at, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(at), "f"(value) : "memory");
}

// Waits for the other threads of a group of THREADS, which has a number of its own from 1 on.
template <int THREADS> __device__ __forceinline__ void meet(int number) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "n"(THREADS) : "memory");
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HAVE_WGMMA
// d += a * b for four warps that have 16 rows of a each, in registers as mma.m16n8k16 has them, and one b, 16 x 64 in
// shared memory: 8 x 8 matrices of which a column is 16 bytes, the two of the same columns after each other.
// Asynchronous: between begin_products and wait_products nobody touches the registers.
typedef unsigned long long product_t;  // where b is, as the PTX manual's matrix descriptor
constexpr int PRODUCT_UNIT = 16;       // bytes by which b is further if it is larger by one
__device__ __forceinline__ product_t product_at(const void* b) {
  const product_t neighbours_in_k = 128 >> 4, neighbours_in_n = 256 >> 4;
  return (product_t)((shared_address(b) & 0x3ffff) >> 4) | neighbours_in_k << 16 | neighbours_in_n << 32;
}
__device__ __forceinline__ void wgmma_n64(float (&d)[8][4], const uint32_t (&a)[4], product_t b) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, 1, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"
      "%30,%31}, {%32,%33,%34,%35}, %36, p, 1, 1, 0;\n"
      "}\n"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
        "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
        "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
        "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
        "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING> __device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
__device__ __forceinline__ void hold(float& v) { asm volatile("" : "+f"(v)::"memory"); }
// What was stored to shared memory is there for the tensor cores too, after the next __syncthreads.
__device__ __forceinline__ void show_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#endif

// Copies 16 or 8 bytes to shared memory, zeros where they are not valid. Done for sure after wait_copies.
#if KERNEL_SM >= 80
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

#ifdef HAVE_WGMMA
// The sums are in registers of their own before this, and are read after it only.
template <int ROWS, int TILES> __device__ __forceinline__ void hold_all(float (&sum)[ROWS][TILES][4]) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (int n = 0; n < TILES; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) hold(sum[r][n][i]);
}
#endif

// Stores the lane's fragments of two tiles of b, vector i of those that mma.sync takes, where a product takes them:
// [tile][half of k][column][q].
__device__ __forceinline__ void store_for_products(uint4* memory, int i, uint4 fragments) {
  uint32_t* to = reinterpret_cast<uint32_t*>(memory) + i / 32 * 128 + i % 32;
  to[0] = fragments.x, to[32] = fragments.y, to[64] = fragments.z, to[96] = fragments.w;
}

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
