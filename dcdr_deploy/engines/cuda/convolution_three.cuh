// A second 3x3 convolution, from the 64 channels of a tile's sums to three, with no map between the two.
//
// A pixel's 64 channels give 27 shares, one for each channel of each of the nine pixels around it: one matrix product,
// 64 x 27, from registers. A pixel of the result is the sum of nine pixels' shares. Inside a tile all nine are in
// shared memory. At a tile's border some are another tile's: every tile leaves what it has for the pixels in question, its
// ring, in memory, and a second kernel adds up what two or four tiles left. All sums have an order, so that results are
// the same every time.

// What a tile adds to: its own pixels and those around them, rows and columns counted from the one before its first.
// The outermost two on each side get something from other tiles too.
struct Ring {
  int rows, columns;  // of the tile
  __device__ __forceinline__ int size() const { return 4 * (rows + columns); }
  __device__ __forceinline__ bool has(int row, int column) const {
    return row < 2 || row >= rows || column < 2 || column >= columns;
  }
  __device__ __forceinline__ int operator()(int row, int column) const {
    if (row < 2) return row * (columns + 2) + column;
    if (row >= rows) return (row - rows + 2) * (columns + 2) + column;
    return 4 * (columns + 2) + (row - 2) * 4 + (column < 2 ? column : column - columns + 2);
  }
};

// What becomes of a pixel of the result: see `end` of the kernels.
struct Three {
  void* out;
  const void* extra;
  const float* bias;
  int end;
  index_t plane;  // pixels of a picture
  // What is multiplied with or added to a pixel, which is asked for before the pixel's sum is made.
  __device__ __forceinline__ float4 with(index_t pixel) const {
    if (!extra) return {0.f, 0.f, 0.f, 0.f};
    if (end != PRODUCT) return __ldg(reinterpret_cast<const float4*>(extra) + pixel);
    const uint2 words = __ldg(reinterpret_cast<const uint2*>(extra) + pixel);
    const float2 a = floats(words.x), b = floats(words.y);
    return {a.x, a.y, b.x, b.y};
  }
  __device__ __forceinline__ void store(index_t pixel, int image, const float (&sum)[3], const float4& other) const {
    const float r = sum[0] + __ldg(bias), g = sum[1] + __ldg(bias + 1), b = sum[2] + __ldg(bias + 2);
    if (end == PRODUCT) {
      reinterpret_cast<float4*>(out)[pixel] = {r * other.x, g * other.y, b * other.z, 0.f};
    } else if (end == PLANAR) {
      half* at = reinterpret_cast<half*>(out) + pixel + 2 * image * plane;  // 3 image planes + (pixel - image's first)
      at[0] = __low2half(__floats2half2_rn(r + other.x, 0.f));
      at[plane] = __low2half(__floats2half2_rn(g + other.y, 0.f));
      at[2 * plane] = __low2half(__floats2half2_rn(b + other.z, 0.f));
    } else {
      float* at = reinterpret_cast<float*>(out) + 3 * pixel;
      at[0] = r + other.x, at[1] = g + other.y, at[2] = b + other.z;
    }
  }
};

// Puts the shares of a tile's pixels into shared memory, zeros for pixels outside the picture. `meet` waits for the
// other threads of the tile. A warp that has half of the channels adds to what the other one put there.
template <class S, class Meet>
__device__ __forceinline__ void share_out(shared_t shares, const float (&v)[S::ROWS][S::WARP_TILES][4],
                                          const uint4* weight, const Target& target, const Place& place,
                                          const Meet& meet) {
  // The sums of two tiles of columns are spread over the lanes as the left side of a product wants its 16 columns.
  uint32_t a[S::ROWS][S::WARP_TILES / 2][4];
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int n = 0; n < S::WARP_TILES; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        a[r][n / 2][n % 2 * 2 + h] = bits(__floats2half2_rn(v[r][n][2 * h], v[r][n][2 * h + 1]));
  const int lane = again(place.lane), q = lane & 3;
  const int pixel = place.row * S::TILE_COLUMNS + place.column + (lane >> 2);
#pragma unroll
  for (int turn = 0; turn < S::WARPS_N; ++turn) {
    if (place.tile / S::WARP_TILES == turn)
#pragma unroll
      for (int r = 0; r < S::ROWS; ++r) {
        float share[4][4] = {};
#pragma unroll
        for (int step = 0; step < S::WARP_TILES / 2; ++step) {
          uint32_t b[4][2];
          fetch_step<4, 4, false>(b, weight, place.tile / 2 + step, 0, lane);
#pragma unroll
          for (int n = 0; n < 4; ++n) multiply(share[n], a[r][step], b[n][0], b[n][1]);
        }
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const bool inside = target.has(r, h);
          const shared_t to = shares + 4 * ((pixel + r * S::TILE_COLUMNS + 8 * h) * SHARES + 8 * q);
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            if (8 * q + i >= SHARES) continue;
            const float own = inside ? share[i / 2][2 * h + i % 2] : 0.f;
            store_shared(to + 4 * i, turn ? load_float(to + 4 * i) + own : own);
          }
        }
      }
    meet();
  }
}

// Adds up the shares of a tile, and stores the result, or what it has for its ring.
template <class S>
__device__ __forceinline__ void sum_up(shared_t shares, float4* rings, const Three& result, int image, int top,
                                       int left, int rows, int columns) {
  constexpr int WIDE = S::TILE_COLUMNS + 2, COUNT = (S::TILE_ROWS + 2) * WIDE;
  const Ring ring = {S::TILE_ROWS, S::TILE_COLUMNS};
  for (int i = again(threadIdx.x) % S::WORKER_THREADS; i < COUNT; i += S::WORKER_THREADS) {
    const int row = i / WIDE, column = i % WIDE, y = top + row - 1, x = left + column - 1;
    if ((unsigned)y >= (unsigned)rows || (unsigned)x >= (unsigned)columns) continue;
    const bool shared = ring.has(row, column);
    const index_t pixel = ((index_t)image * rows + y) * columns + x;
    const float4 other = shared ? float4{0.f, 0.f, 0.f, 0.f} : result.with(pixel);
    float sum[3] = {0.f, 0.f, 0.f};
#pragma unroll
    for (int dy = 0; dy < 3; ++dy)
#pragma unroll
      for (int dx = 0; dx < 3; ++dx) {
        const int sy = row - 2 + dy, sx = column - 2 + dx;
        if ((unsigned)sy >= (unsigned)S::TILE_ROWS || (unsigned)sx >= (unsigned)S::TILE_COLUMNS) continue;
        const shared_t from = shares + 4 * ((sy * S::TILE_COLUMNS + sx) * SHARES + 3 * (3 * dy + dx));
#pragma unroll
        for (int c = 0; c < 3; ++c) sum[c] += load_float(from + 4 * c);
      }
    if (shared) {
      rings[ring(row, column)] = {sum[0], sum[1], sum[2], 0.f};
    } else {
      result.store(pixel, image, sum, other);
    }
  }
}

// Adds up what tiles left for each other's borders: a warp for each tile, a lane for each pixel of its border.
extern "C" __global__ void __launch_bounds__(256)
    convolution_rings(const float4* rings, const float* bias, void* out, const void* extra, int batch, int rows,
                      int columns, int tile_rows, int tile_columns, int end) {
  const Ring ring = {tile_rows, tile_columns};
  const Three result = {out, extra, bias, end, (index_t)rows * columns};
  const int tiles_x = (columns + tile_columns - 1) / tile_columns, tiles_y = (rows + tile_rows - 1) / tile_rows;
  const index_t tile = (index_t)blockIdx.x * 8 + threadIdx.x / 32;
  if (tile >= (index_t)tiles_x * tiles_y * batch) return;
  const int image = (int)(tile / ((index_t)tiles_x * tiles_y)), place = (int)(tile % ((index_t)tiles_x * tiles_y));
  const int tile_y = place / tiles_x, tile_x = place % tiles_x;
  for (int k = threadIdx.x % 32; k < 2 * (tile_rows + tile_columns) - 4; k += 32) {
    const int side = k - 2 * tile_columns;  // behind the first and the last row: what is left of the columns
    const int i = side < 0 ? k / tile_columns * (tile_rows - 1) : 1 + side / 2;
    const int j = side < 0 ? k % tile_columns : side % 2 * (tile_columns - 1);
    const int y = tile_y * tile_rows + i, x = tile_x * tile_columns + j;
    if (y >= rows || x >= columns) continue;
    const index_t pixel = ((index_t)image * rows + y) * columns + x;
    const float4 other = result.with(pixel);
    const int below = i == tile_rows - 1, beside = j == tile_columns - 1;
    const int first_y = max(tile_y - (i == 0), 0), last_y = min(tile_y + below, tiles_y - 1);
    const int first_x = max(tile_x - (j == 0), 0), last_x = min(tile_x + beside, tiles_x - 1);
    float sum[3] = {0.f, 0.f, 0.f};
    for (int ty = first_y; ty <= last_y; ++ty)
      for (int tx = first_x; tx <= last_x; ++tx) {
        const index_t from = ((index_t)image * tiles_y + ty) * tiles_x + tx;
        const float4 part =
            rings[from * ring.size() + ring(y - ty * tile_rows + 1, x - tx * tile_columns + 1)];
        sum[0] += part.x, sum[1] += part.y, sum[2] += part.z;
      }
    result.store(pixel, image, sum, other);
  }
}
