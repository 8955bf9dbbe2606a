// The products of a tile: of its halo and the weights, and of its hidden channels and an SFT layer's weights.
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
#pragma unroll (S::SFT ? 1 : 3)  // the layer's sums leave fewer registers
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
#ifdef HAVE_WGMMA
  } else if constexpr (S::WGMMA) {
    // While the rows of a step are multiplied, those of the next one are read.
    constexpr int STEPS = S::CHANNELS / 16, LINES = (S::ROWS - 1) * S::STRIDE + 3;
    const product_t products = product_at(weight);
    uint32_t a[2][LINES][4];
    const auto read = [&](int step) {
      const int column = (place.column + (place.lane & 15)) * S::STRIDE + step / STEPS;
      const int vector = (2 * (step % STEPS) + (place.lane >> 4)) ^ S::swizzle(column);
      const shared_t at =
          halo + place.row * S::STRIDE * S::ROW_BYTES + column * S::PIXEL_BYTES + (vector << 4);
#pragma unroll
      for (int i = 0; i < LINES; ++i) ldmatrix_x4(a[step % 2][i], at + i * S::ROW_BYTES);
    };
    read(0);
    hold_all(sum);
#pragma unroll
    for (int step = 0; step < 3 * STEPS; ++step) {
      begin_products();
#pragma unroll
      for (int i = 0; i < LINES; ++i)
#pragma unroll
        for (int dy = 0; dy < 3; ++dy) {
          const int r = (i - dy) / S::STRIDE;
          if (i < dy || (i - dy) % S::STRIDE || r >= S::ROWS) continue;
          const int block = (dy * 3 + step / STEPS) * STEPS + step % STEPS;
          wgmma_n64(sum[r], a[step % 2][i], products + block * (16 * S::OUT * 2 / PRODUCT_UNIT));
        }
      commit_products();
      wait_products<1>();
      if (step + 1 < 3 * STEPS) read(step + 1);
    }
    wait_products<0>();
    hold_all(sum);
#endif
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
  const shared_t at = plane + (place.row * S::SCALE * S::HIDDEN_COLUMNS + place.column + pixel) * 2 * HIDDEN;
#pragma unroll 1  // unrolled, all of its loads are asked for at once, and there are not registers enough
  for (int step = 0; step < 4; ++step) {
    const int tap = 2 * step + half;
    const shared_t vector = at + (tap / 3 * S::HIDDEN_COLUMNS + S::hidden_column(tap % 3)) * 2 * HIDDEN;
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
    ldmatrix_x2(a, at + ((2 + r * S::SCALE) * S::HIDDEN_COLUMNS + S::hidden_column(2)) * 2 * HIDDEN);
#pragma unroll
    for (int n = 0; n < COUNT; ++n) mma_k8(total[r][from + n], a[0], a[1], b[n]);
  }
}
