// What becomes of a tile's sums: SFT layer, residual, and where they are stored.
// First of the lane's two channels of a tile among the block's.
template <class S> __device__ __forceinline__ int channel_of(int tile, int q) {
  return S::GROUP * 8 * (tile / S::GROUP) + 2 * S::GROUP * q + 2 * (tile % S::GROUP);
}

template <class S>
__device__ __forceinline__ void begin_sum(float (&sum)[S::ROWS][S::WARP_TILES][4], const float* bias,
                                          const Place& place) {
#pragma unroll
  for (int n = 0; n < S::WARP_TILES; ++n) {
    const float2 b = __ldg(reinterpret_cast<const float2*>(bias + channel_of<S>(place.tile + n, place.lane & 3)));
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r) sum[r][n][0] = sum[r][n][2] = b.x, sum[r][n][1] = sum[r][n][3] = b.y;
  }
}

// v = v * gain + shift, whose biases are 1 + gain's and shift's.
template <class S>
__device__ __forceinline__ void transform(float (&v)[S::ROWS][S::WARP_TILES][4], shared_t planes, const uint4* weight,
                                          const float* bias, const Place& place) {
  constexpr int PART = S::WARP_TILES < 4 ? S::WARP_TILES : 4;
#pragma unroll
  for (int part = 0; part < S::WARP_TILES / PART; ++part) {
    float gain[S::ROWS][PART][4];
#pragma unroll
    for (int n = 0; n < PART; ++n) {
      const int channel = channel_of<S>(place.tile + part * PART + n, place.lane & 3);
      const float2 b = __ldg(reinterpret_cast<const float2*>(bias + channel));
#pragma unroll
      for (int r = 0; r < S::ROWS; ++r) gain[r][n][0] = gain[r][n][2] = b.x, gain[r][n][1] = gain[r][n][3] = b.y;
    }
    multiply_hidden<S, PART>(gain, 0, planes, weight, place.tile + part * PART, place);
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
      for (int n = 0; n < PART; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) v[r][part * PART + n][i] *= gain[r][n][i];
  }
#pragma unroll
  for (int n = 0; n < S::WARP_TILES; ++n) {
    const float2 b = __ldg(reinterpret_cast<const float2*>(bias + 64 + channel_of<S>(place.tile + n, place.lane & 3)));
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r)
      v[r][n][0] += b.x, v[r][n][1] += b.y, v[r][n][2] += b.x, v[r][n][3] += b.y;
  }
  multiply_hidden<S, S::WARP_TILES>(v, 0, planes + S::PLANE_BYTES, weight + SFT_VECTORS, place.tile, place);
}

// Where the lane's pixels of a tile are in a map: pixel (r, h) is row r and column g + 8 h of the warp's.
struct Target {
  index_t first;      // number of pixel (0, 0)
  index_t down;       // pixels from a row to the next
  int right;          // pixels from h = 0 to h = 1
  int rows, columns;  // h of them that exist
  __device__ __forceinline__ bool has(int r, int h) const { return r < rows && h < columns; }
  __device__ __forceinline__ index_t operator()(int r, int h) const { return first + r * down + h * right; }
};

template <class S>
__device__ __forceinline__ void store_tile(const float (&v)[S::ROWS][S::WARP_TILES][4], half* out, int stride,
                                           const Target& target) {
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!target.has(r, h)) continue;
      half* at = out + target(r, h) * stride;
#pragma unroll
      for (int c = 0; c < S::GROUPS; ++c) {
        uint32_t words[S::GROUP];
#pragma unroll
        for (int k = 0; k < S::GROUP; ++k) {
          const float* pair = &v[r][c * S::GROUP + k][2 * h];
          words[k] = bits(__floats2half2_rn(pair[0], pair[1]));
        }
        store_halves(at + 8 * S::GROUP * c, words);
      }
    }
}

template <class S>
__device__ __forceinline__ void add_residual(float (&v)[S::ROWS][S::WARP_TILES][4], const half* residual, int stride,
                                             const Target& target) {
  uint32_t words[S::ROWS][2][S::GROUPS][S::GROUP];  // all are asked for before any is needed
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int c = 0; c < S::GROUPS; ++c) {
#pragma unroll
        for (int k = 0; k < S::GROUP; ++k) words[r][h][c][k] = 0;
        if (target.has(r, h)) load_halves(words[r][h][c], residual + target(r, h) * stride + 8 * S::GROUP * c);
      }
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int n = 0; n < S::WARP_TILES; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float2 each = floats(words[r][h][n / S::GROUP][n % S::GROUP]);
        v[r][n][2 * h] += each.x, v[r][n][2 * h + 1] += each.y;
      }
}

// Three channels: lanes with q = 0 have the first two, with q = 1 the third. `plane` is the number of pixels of a
// picture and `image` the picture's number.
template <class S>
__device__ __forceinline__ void store_three(const float (&v)[S::ROWS][S::WARP_TILES][4], void* out, const void* extra,
                                            int end, const Target& target, index_t image, index_t plane, int q) {
  if (q > 1) return;
  float2 with[S::ROWS][2];  // all are asked for before any is needed
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      with[r][h] = {0.f, 0.f};
      if (!extra || !target.has(r, h)) continue;
      const index_t at = 2 * target(r, h) + q;
      if (end == PRODUCT) {
        with[r][h] = floats(__ldg(reinterpret_cast<const uint32_t*>(extra) + at));
      } else {
        with[r][h] = __ldg(reinterpret_cast<const float2*>(extra) + at);
      }
    }
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!target.has(r, h)) continue;
      const index_t pixel = target(r, h);
      const float2 own = {v[r][0][2 * h], v[r][0][2 * h + 1]}, other = with[r][h];
      if (end == PRODUCT) {
        reinterpret_cast<float2*>(out)[2 * pixel + q] = {own.x * other.x, own.y * other.y};
      } else if (end == PLANAR) {
        half* at = reinterpret_cast<half*>(out) + pixel + 2 * image * plane;  // 3 image planes + (pixel - image's first)
        const half2 pair = __floats2half2_rn(own.x + other.x, own.y + other.y);
        at[2 * q * plane] = __low2half(pair);
        if (q == 0) at[plane] = __high2half(pair);
      } else {
        float* at = reinterpret_cast<float*>(out) + 3 * pixel + 2 * q;
        at[0] = own.x + other.x;
        if (q == 0) at[1] = own.y + other.y;
      }
    }
}
