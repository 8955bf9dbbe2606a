// What multiplies gathered rows by a tap's weights, and where the weights are while a block works. For every tap, convolve
// calls begin, multiply and end.

// Blended channels of the rows g and g + 8 of both tiles: 8q ... 8q+7 and 32+8q ... 32+8q+7. A fragment k of a tile:
typedef Half8 Rows[M_TILES][2][2];
__device__ __forceinline__ void fragment_of(uint32_t (&fragment)[4], const Half8 (&rows)[2][2], int k) {
  const Half8 &upper = rows[0][k >> 1], &lower = rows[1][k >> 1];
  fragment[0] = upper.pair[2 * (k & 1)], fragment[1] = lower.pair[2 * (k & 1)];
  fragment[2] = upper.pair[2 * (k & 1) + 1], fragment[3] = lower.pair[2 * (k & 1) + 1];
}

// A warp multiplies by itself (mma.sync). Nine taps' weights fit into the shared memory of SM80 and up and stay there;
// before, two taps do, and while one is used the next one travels through registers.
template <int THREADS> struct WarpWeights {
  const uint4* tap_weights;
#if KERNEL_SM >= 80
  const uint4* resident;
  __device__ __forceinline__ WarpWeights(const uint4* source, uint4* memory) {
    for (int i = threadIdx.x; i < TAPS * TAP_VECTORS; i += THREADS) memory[i] = __ldg(source + i);
    __syncthreads();
    resident = memory;
  }
  __device__ __forceinline__ void begin(int tap) { tap_weights = resident + tap * TAP_VECTORS; }
  __device__ __forceinline__ void end() {}
#else
  static constexpr int SHARE = TAP_VECTORS / THREADS;
  static_assert(SHARE * THREADS == TAP_VECTORS, "all threads take the same share of a tap");
  const uint4* source;
  uint4* memory;
  uint4 next[SHARE];
  int buffer = 0;
  __device__ __forceinline__ WarpWeights(const uint4* source, uint4* memory) : source(source), memory(memory) {
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
  __device__ __forceinline__ void begin(int tap) {
    fetch(tap == TAPS - 1 ? 0 : tap + 1);  // after the last tap comes the first one of the next tile
    tap_weights = memory + buffer * TAP_VECTORS;
  }
  __device__ __forceinline__ void end() {
    buffer ^= 1;
    put();
  }
#endif
  __device__ __forceinline__ void multiply(Sums& sum, const Rows& rows, int lane) {
    const uint4* b = tap_weights + lane;
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const uint4 w = b[(k * 4 + n) * 32];
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
          uint32_t fragment[4];
          fragment_of(fragment, rows[m], k);
          ::multiply(sum[m][2 * n], fragment, w.x, w.y);
          ::multiply(sum[m][2 * n + 1], fragment, w.z, w.w);
        }
      }
  }
};

#ifdef HAVE_WGMMA
// Four warps multiply together (wgmma, SM90): the tensor cores read the weights from shared memory by themselves, once for
// 64 rows, where a warp of its own reads them for 32. All four are at the same tap of their own pixels.
//
// The tensor cores read a product's left side out of the registers at any time until it has been waited for. So it is
// waited for before the next tap's rows are made: blocks that made these rows first were wrong on a GPU.
template <int THREADS> struct GroupWeights {
  static_assert(THREADS % 128 == 0, "four warps multiply together");
  static constexpr int STEP_BYTES = 16 * CHANNELS * 2;  // of 16 input channels
  product_t products, tap_products;

  __device__ __forceinline__ GroupWeights(const uint4* source, uint4* memory) : products(product_at(memory)) {
    for (int i = threadIdx.x; i < TAPS * TAP_VECTORS; i += THREADS) store_for_products(memory, i, __ldg(source + i));
    show_to_products();
    __syncthreads();
  }
  __device__ __forceinline__ void begin(int tap) {
    tap_products = products + tap * (TAP_VECTORS * 16 / PRODUCT_UNIT);
  }
  __device__ __forceinline__ void multiply(Sums& sum, const Rows& rows, int) {
    uint32_t left[M_TILES][4][4];
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
      for (int k = 0; k < 4; ++k) fragment_of(left[m][k], rows[m], k);
    hold_all(sum);
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int m = 0; m < M_TILES; ++m)
        wgmma_n64(sum[m], left[m][k], tap_products + k * (STEP_BYTES / PRODUCT_UNIT));
    commit_products();
    wait_products<0>();
    hold_all(sum);
  }
  __device__ __forceinline__ void end() {}
};
#endif
