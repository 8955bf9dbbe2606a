// A 3x3 convolution with zero padding of 1 as an implicit matrix product on tensor cores, and all that the network does
// between two of them: bias, activation, SFT layer, residual, pixel shuffle, the tone net's product, the final sum.
//
// Feature maps are NHWC FP16, sums FP32. A block stays on its multiprocessor and takes one tile of output pixels after
// the other. The tile's input with its border of one pixel (the halo) is copied to shared memory, asynchronously from
// SM80 on, while the tile before is multiplied (two stages) or stored (one stage). The weights are copied once, if they
// fit (RESIDENT), else they are read through L1.
//
// A warp computes ROWS x 16 pixels by WARP_TILES x 8 channels. For a column of taps and 16 input channels it holds the
// weights of three taps and goes down the ROWS + 2 rows of the halo: a row that is read once by ldmatrix serves the
// three output rows that it is a neighbour of. Reading shared memory is what bounds such a product, not multiplying.
//
// On SM90 four warps multiply together (wgmma): each reads its own pixels as above, the tensor cores read the weights
// from shared memory themselves, once for all four, and meanwhile the next pixels are read. Several workers in a block
// share the weights and nothing else: while one stores or waits for its halo, the others multiply.
//
// Columns of the product are permuted (see convolution_packing.py), so that a lane owns 8 neighbouring channels of a
// pixel, and stores and reads them 16 bytes at a time.
//
// The lines that make kernels of these templates are generated from convolution_table.py for each SM. Compiled by NVRTC
// for SM75 and up. Compiled by a host compiler, whoever does so supplies a <cuda_fp16.h> of their own with the few CUDA
// features used here.
#include "tensor_cores.cuh"

#include "convolution_shape.cuh"

#include "convolution_copies.cuh"

#include "convolution_products.cuh"

#include "convolution_ends.cuh"

#include "convolution_three.cuh"

// x        (batch, height, width, CHANNELS), interpolated to factor times the size if UPSAMPLE
// weight   from pack_weight, `chunks` times the block's channels
// out      maps of out_stride channels; or what `end` says of three channels
// extra    residual in out's layout (may be out itself), or the image (PRODUCT), or the tone map, or null
// second   null, or where the result of the SFT layer goes, while out gets what is before it; with HALVES where the
//          upper 16 channels of 32 go; with THREE the rings
// hidden   null, or the layer's 16 hidden channels in a map of hidden_stride channels and out's size
// sft_weight, sft_bias  of the SFT layer, or of the second convolution
// slope    of the activation below zero: 1 none, 0 ReLU
// Blocks take chunks of output channels in turn; the grid is a multiple of chunks.
#define PARAMETERS                                                                                                    \
  const half *x, const uint4 *weight, const float *bias, void *out, const void *extra, half *second,                  \
      const half *hidden, const uint4 *sft_weight, const float *sft_bias, int batch, int height, int width,           \
      int factor, int chunks, int out_stride, int hidden_stride, int end, float slope

template <class S> __device__ __forceinline__ void convolve(PARAMETERS) {
  uint4* memory = dynamic_shared();
  // Taken from a lane, so that the compiler knows that a warp agrees: wgmma must not stand in a divergent path.
  const int own_warp = __shfl_sync(~0u, (int)(threadIdx.x >> 5), 0);
  const int worker = own_warp / S::WARPS, warp = own_warp % S::WARPS;
  const shared_t base = shared_address(memory) + S::HALO_AT + worker * S::WORKER_BYTES;
  const auto meet_others = [&] {
    if constexpr (S::WORKERS == 1) {
      __syncthreads();
    } else {
      meet<S::WORKER_THREADS>(1 + worker);
    }
  };
  const int warp_n = warp % S::WARPS_N, warp_x = warp / S::WARPS_N % S::WARPS_X;
  const Place place = {(int)threadIdx.x & 31, warp / S::WARPS_N / S::WARPS_X * S::ROWS, warp_x * 16,
                       warp_n * S::WARP_TILES};
  if constexpr (S::THREE) chunks = 1;
  const int chunk = (int)(blockIdx.x % chunks), blocks = (int)(gridDim.x / chunks);
  weight += chunk * (S::WEIGHT_BYTES / 16);
  bias += chunk * S::OUT;

  const int input_height = S::UPSAMPLE ? height * factor : height, input_width = S::UPSAMPLE ? width * factor : width;
  const int rows = (input_height - 1) / S::STRIDE + 1, columns = (input_width - 1) / S::STRIDE + 1;
  const int tiles_x = (columns + S::TILE_COLUMNS - 1) / S::TILE_COLUMNS;
  const int tiles_y = (rows + S::TILE_ROWS - 1) / S::TILE_ROWS;
  typedef typename S::number_t number_t;
  const number_t tiles = (number_t)tiles_x * tiles_y * batch;
  const auto exists = [&](number_t number) {
    return number < (S::SCARCE ? (number_t)tiles_x * tiles_y * S::anew(batch) : tiles);
  };
  number_t tile = (number_t)(blockIdx.x / chunks) * S::WORKERS + worker;

  const number_t step = (number_t)blocks * S::WORKERS;
  const auto after = [&](number_t number) -> number_t {
    return number + (S::SCARCE ? (number_t)S::anew(blocks) * S::WORKERS : step);
  };

  struct Tile {
    int image, top, left;
  };
  const auto locate = [&](number_t number) -> Tile {
    const int place_in_image = (int)(number % ((number_t)tiles_x * tiles_y));
    return {(int)(number / ((number_t)tiles_x * tiles_y)), place_in_image / tiles_x * S::TILE_ROWS,
            place_in_image % tiles_x * S::TILE_COLUMNS};
  };
  const auto begin_halo = [&](number_t number, int stage) {
    if (exists(number)) {
      const Tile t = locate(number);
      const shared_t halo = base + stage * S::HALO_BYTES;
      const half* picture = x + (index_t)t.image * S::anew(height) * width * S::CHANNELS;
      const int top = t.top * S::STRIDE - 1, left = t.left * S::STRIDE - 1;
      if constexpr (S::UPSAMPLE) {
        interpolate_halo<S>(halo, picture, top, left, height, width, factor);
      } else {
        copy_halo<S>(halo, picture, top, left, height, width);
      }
    }
    commit_copies();
  };

  begin_halo(tile, 0);
  if constexpr (S::RESIDENT) {
    for (int i = threadIdx.x; i < S::WEIGHT_BYTES / 16; i += S::THREADS) {
      const uint4 w = __ldg(weight + i);
      if constexpr (S::WGMMA) {
        store_for_products(memory, i, w);
      } else {
        memory[i] = w;
      }
    }
#ifdef HAVE_WGMMA
    if constexpr (S::WGMMA) show_to_products();
#endif
    weight = memory;
  }
  if constexpr (S::SFT_RESIDENT) {
    if (hidden) {
      uint4* to = memory + S::SFT_AT / 16;
      for (int i = threadIdx.x; i < 2 * SFT_VECTORS; i += S::THREADS) to[i] = __ldg(sft_weight + i);
      sft_weight = to;
    }
  }
  if constexpr (S::WORKERS > 1) __syncthreads();

  for (int stage = 0; exists(tile); tile = after(tile), stage = S::STAGES - 1 - stage) {
    const Tile t = locate(tile);
    wait_copies<0>();
    meet_others();  // the halo is there, and nobody needs the other one or the hidden channels any more
    const int sy = S::SHUFFLE ? chunk >> 1 : 0, sx = S::SHUFFLE ? chunk & 1 : 0;
    if constexpr (S::SFT) {
      if (hidden)
        copy_hidden<S>(base + S::PLANES_AT,
                       hidden + (index_t)t.image * rows * S::SCALE * columns * S::SCALE * hidden_stride,
                       t.top * S::SCALE + sy - 1, t.left * S::SCALE + sx - 1, rows * S::SCALE, columns * S::SCALE,
                       hidden_stride);
      commit_copies();
    }
    if constexpr (S::STAGES == 2) begin_halo(after(tile), 1 - stage);

    float sum[S::ROWS][S::WARP_TILES][4];
    const Place own = {S::anew(place.lane), S::anew(place.row), place.column, place.tile};
    begin_sum<S>(sum, bias, own);
    multiply_halo<S>(sum, base + stage * S::HALO_BYTES, weight, own);

    if constexpr (S::SFT) wait_copies<S::STAGES - 1>();
    if constexpr (S::SFT || S::STAGES == 1 || S::THREE) meet_others();
    if constexpr (S::STAGES == 1 && !S::UPSAMPLE && !S::THREE) begin_halo(after(tile), 0);

    const int q = own.lane & 3, y = t.top + own.row, column = t.left + own.column + (own.lane >> 2);
    const index_t width_out = (index_t)columns * S::SCALE;
    const Target target = {((index_t)t.image * rows * S::SCALE + y * S::SCALE + sy) * width_out + column * S::SCALE + sx,
                           width_out * S::SCALE, 8 * S::SCALE, rows - y,
                           column + 8 < columns ? 2 : column < columns ? 1 : 0};
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r)
#pragma unroll
      for (int n = 0; n < S::WARP_TILES; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[r][n][i] = fmaxf(sum[r][n][i], slope * sum[r][n][i]);

    if constexpr (S::THREE) {
      const shared_t shares = base + stage * S::HALO_BYTES;  // where the halo was
      share_out<S>(shares, sum, sft_weight, target, own, meet_others);
      const Three result = {out, extra, sft_bias, end, (index_t)rows * columns};
      float4* rings = reinterpret_cast<float4*>(second) + (index_t)tile * Ring{S::TILE_ROWS, S::TILE_COLUMNS}.size();
      sum_up<S>(shares, rings, result, t.image, t.top, t.left, rows, columns);
      if constexpr (S::STAGES == 1) {
        meet_others();
        begin_halo(after(tile), 0);
      }
    } else if constexpr (S::TILES == 1) {
      store_three<S>(sum, out, extra, end, target, t.image, (index_t)rows * columns, q);
    } else {
      const int channel = channel_of<S>(place.tile, q) + (S::SHUFFLE ? 0 : chunk * S::OUT);
      half* first = reinterpret_cast<half*>(out) + channel;
      if constexpr (S::HALVES) {
        if (again(q) >= 2) first = second + channel - 16;
      }
      if constexpr (S::SHUFFLE) {
        if (extra) add_residual<S>(sum, reinterpret_cast<const half*>(extra) + channel, out_stride, target);
      }
      if constexpr (S::SFT) {
        if (hidden) {
          if (second) store_tile<S>(sum, first, out_stride, target);
          transform<S>(sum, base + S::PLANES_AT, sft_weight, sft_bias, place);
          if (second) first = second + channel;
        }
      }
      store_tile<S>(sum, first, out_stride, target);
    }
    if constexpr (S::UPSAMPLE) begin_halo(after(tile), 0);  // takes registers that the sums took
  }
  wait_copies<0>();
}

#define CONVOLUTION(name, least_blocks, shared, ...)                                                                  \
  static_assert(Shape<__VA_ARGS__>::SHARED == shared, "convolution_table.py counts shared memory otherwise");         \
  extern "C" __global__ void __launch_bounds__(Shape<__VA_ARGS__>::THREADS, least_blocks) name(PARAMETERS) {          \
    convolve<Shape<__VA_ARGS__>>(x, weight, bias, out, extra, second, hidden, sft_weight, sft_bias, batch, height,    \
                                 width, factor, chunks, out_stride, hidden_stride, end, slope);                       \
  }
