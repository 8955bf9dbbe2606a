// What is copied to shared memory for a tile: its input with a border, and the hidden channels around it.
// Fills a halo as copy_halo, with a picture that is x interpolated to `factor` times its size (2 or 4): bilinear without
// aligned corners, as PyTorch defines it: pixel centres at halves, clamped at the border. Between four neighbouring
// pixels of x lie factor x factor ones of the picture, which one thread makes out of a single reading.
template <class S>
__device__ __forceinline__ void interpolate_halo(shared_t halo, const half* x, int top, int left, int height, int width,
                                                 int factor) {
  constexpr int VECTORS = S::CHANNELS / 8;
  const int thread = threadIdx.x % S::WORKER_THREADS, vector = thread % VECTORS;
  // The picture's row y is row (y - factor / 2) % factor between rows (y - factor / 2) / factor of x and the next one.
  const int shift = factor == 4 ? 2 : 1, begin_y = (top - factor / 2) >> shift, begin_x = (left - factor / 2) >> shift;
  const int cells_y = ((top + S::HALO_ROWS - 1 - factor / 2) >> shift) - begin_y + 1;
  const int cells_x = ((left + S::HALO_COLUMNS - 1 - factor / 2) >> shift) - begin_x + 1;
  const float step = 1.f / factor;
  for (int cell = thread / VECTORS; cell < cells_y * cells_x; cell += S::WORKER_THREADS / VECTORS) {
    const int cy = begin_y + cell / cells_x, cx = begin_x + cell % cells_x;
    const int y0 = min(max(cy, 0), height - 1), y1 = min(max(cy + 1, 0), height - 1);
    const int x0 = min(max(cx, 0), width - 1), x1 = min(max(cx + 1, 0), width - 1);
    const half* source = x + 8 * vector;
    uint32_t v[4][4];
    load_halves(v[0], source + ((index_t)y0 * width + x0) * S::CHANNELS);
    load_halves(v[1], source + ((index_t)y0 * width + x1) * S::CHANNELS);
    load_halves(v[2], source + ((index_t)y1 * width + x0) * S::CHANNELS);
    load_halves(v[3], source + ((index_t)y1 * width + x1) * S::CHANNELS);
#pragma unroll 1
    for (int py = 0; py < factor; ++py) {
      const int gy = cy * factor + factor / 2 + py, row = gy - top;
      if ((unsigned)row >= (unsigned)S::HALO_ROWS) continue;
      const float ay = (py + 0.5f) * step;
      float2 begin[4], more[4];  // at the left pixel, and what the right one has more
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float2 a = floats(v[0][k]), b = floats(v[1][k]), c = floats(v[2][k]), d = floats(v[3][k]);
        begin[k] = {a.x + ay * (c.x - a.x), a.y + ay * (c.y - a.y)};
        more[k] = {b.x + ay * (d.x - b.x) - begin[k].x, b.y + ay * (d.y - b.y) - begin[k].y};
      }
#pragma unroll 1
      for (int px = 0; px < factor; ++px) {
        const int gx = cx * factor + factor / 2 + px, column = gx - left;
        if ((unsigned)column >= (unsigned)S::HALO_COLUMNS) continue;
        const float ax = (px + 0.5f) * step;
        const bool inside = (unsigned)gy < (unsigned)(height * factor) && (unsigned)gx < (unsigned)(width * factor);
        uint32_t words[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const half2 pair = __floats2half2_rn(begin[k].x + ax * more[k].x, begin[k].y + ax * more[k].y);
          words[k] = inside ? bits(pair) : 0;
        }
        store_shared(halo + (row * S::HALO_COLUMNS + column) * S::PIXEL_BYTES + ((vector ^ S::swizzle(column)) << 4),
                     make_uint4(words[0], words[1], words[2], words[3]));
      }
    }
  }
}

// Copies the halo whose upper left pixel is (top, left); pixels outside the picture are zero.
template <class S>
__device__ __forceinline__ void copy_halo(shared_t halo, const half* x, int top, int left, int height, int width) {
  constexpr int VECTORS = S::CHANNELS == 4 ? 1 : S::CHANNELS / 8;
  constexpr int PIXELS = S::WORKER_THREADS / VECTORS, COUNT = S::HALO_ROWS * S::HALO_COLUMNS;
  const int thread = S::anew(threadIdx.x) % S::WORKER_THREADS, vector = thread % VECTORS;
  int row = thread / VECTORS / S::HALO_COLUMNS, column = thread / VECTORS % S::HALO_COLUMNS;
#pragma unroll 4
  for (int i = 0; i < (COUNT + PIXELS - 1) / PIXELS; ++i) {
    if (COUNT % PIXELS == 0 || row < S::HALO_ROWS) {
      const int gy = top + row, gx = left + column;
      const bool inside = (unsigned)gy < (unsigned)height && (unsigned)gx < (unsigned)width;
      const shared_t to = halo + (row * S::HALO_COLUMNS + column) * S::PIXEL_BYTES;
      const half* from = inside ? x + ((index_t)gy * width + gx) * S::CHANNELS + 8 * vector : x;
      if constexpr (S::CHANNELS == 4) {
        copy8(to, from, inside);
      } else {
        copy16(to + ((vector ^ S::swizzle(column)) << 4), from, inside);
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
  constexpr int PIXELS = S::WORKER_THREADS / 2, COUNT = S::HIDDEN_ROWS * S::HIDDEN_COLUMNS;
  const int thread = threadIdx.x % S::WORKER_THREADS, part = thread % 2;
  int row = thread / 2 / S::HIDDEN_COLUMNS, column = thread / 2 % S::HIDDEN_COLUMNS;
#pragma unroll 2
  for (int i = 0; i < (COUNT + PIXELS - 1) / PIXELS; ++i) {
    if (row < S::HIDDEN_ROWS) {
      const int gy = top + row, gx = left + column;
      const bool inside = (unsigned)gy < (unsigned)height && (unsigned)gx < (unsigned)width;
      const half* from = inside ? hidden + ((index_t)gy * width + gx) * stride + HIDDEN * part : hidden;
      copy16(planes + part * S::PLANE_BYTES + (row * S::HIDDEN_COLUMNS + S::hidden_column(column)) * 16, from, inside);
    }
    column += PIXELS % S::HIDDEN_COLUMNS;
    row += PIXELS / S::HIDDEN_COLUMNS;
    if (column >= S::HIDDEN_COLUMNS) column -= S::HIDDEN_COLUMNS, ++row;
  }
}
