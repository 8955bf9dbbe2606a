// What all kernels on tensor cores share: products of a warp, and words of two halves.
//
// Compiled by NVRTC for SM75 and up. A host compiler gets what stands between the first #ifdef and its #endif from
// whoever supplies <cuda_fp16.h>.
#include <cuda_fp16.h>

#ifdef __CUDA_ARCH__
#ifndef KERNEL_SM
#define KERNEL_SM (__CUDA_ARCH__ / 10)
#endif
typedef unsigned int uint32_t;

__device__ __forceinline__ uint4* dynamic_shared() {
  extern __shared__ uint4 memory[];
  return memory;
}

// c += a * b for a 16 x K tile a (row major) and a K x 8 tile b, spread over the warp as the PTX manual says.
__device__ __forceinline__ void mma_k8(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}
#if KERNEL_SM >= 80
__device__ __forceinline__ void mma_k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// The same number, but the compiler cannot know that: what is worked out from it is worked out again instead of being
// kept in registers through a loop.
__device__ __forceinline__ int again(int number) {
  int same;
  asm volatile("mov.u32 %0, %1;" : "=r"(same) : "r"(number));
  return same;
}
#endif

typedef long long index_t;

__device__ __forceinline__ uint32_t bits(half2 v) { return *reinterpret_cast<uint32_t*>(&v); }
__device__ __forceinline__ half2 halves(uint32_t v) { return *reinterpret_cast<half2*>(&v); }

// c += a * b over 16 rows of b
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if KERNEL_SM >= 80
  mma_k16(c, a, b0, b1);
#else
  mma_k8(c, a[0], a[1], b0);
  mma_k8(c, a[2], a[3], b1);
#endif
}
