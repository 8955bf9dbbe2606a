// The measures of a kernel of convolution.cu, and where its parts are in shared memory.
constexpr int HIDDEN = 8;                      // channels between the two convolutions of a gain or shift map
constexpr int SFT_VECTORS = 9 * HIDDEN * 64 / 8;  // weights of a gain or shift map, in uint4
constexpr int SHARES = 27;                     // of a pixel in a convolution to three channels: nine pixels' three
enum End { PRODUCT, PLANAR, INTERLEAVED };     // what becomes of a result of three channels

template <bool scarce> struct Number { typedef index_t type; };
template <> struct Number<true> { typedef unsigned type; };

// A kernel's measures.
//   channels     of the input: 4, 32 or 64
//   tiles        of 8 output channels that a block computes
//   stride       1 or 2
//   rows         output rows of a warp; a block's tile is rows * warps_y by 16 * warps_x pixels
//   warps_y, _x  warps that share a tile, and warps_n that share its output channels
//   stages       halos in shared memory: 2 to copy during the multiplication, 1 to copy during the epilogue
//   resident     the weights are in shared memory
//   sft          0 none; 1 an SFT layer at the end, its weights read through L1; 2 in shared memory
//   shuffle      a block's channels are one of the four places of a pixel shuffle by two
//   upsample     the input is interpolated while it is copied
//   wgmma        four warps multiply together, and the tensor cores read the weights themselves: SM90 only
//   workers      groups of warps that take tiles of their own and share nothing but the weights: one copies or stores
//                while another one multiplies
//   three        what is computed goes through a second convolution, to three channels, and is not stored itself
template <int channels, int tiles, int stride, int rows, int warps_y, int warps_x, int warps_n, int stages,
          int resident, int sft, int shuffle, int upsample, int wgmma, int workers, int three>
struct Shape {
  static constexpr int CHANNELS = channels, TILES = tiles, STRIDE = stride, ROWS = rows, STAGES = stages;
  static constexpr int WARPS_Y = warps_y, WARPS_X = warps_x, WARPS_N = warps_n;
  static constexpr bool RESIDENT = resident, SFT = sft != 0, SFT_RESIDENT = sft == 2;
  static constexpr bool SHUFFLE = shuffle, UPSAMPLE = upsample, WGMMA = wgmma, THREE = three;
  static constexpr bool HALVES = channels == 32 && tiles == 4 && !upsample;  // the channels may go to two maps
  static constexpr bool SCARCE = three && wgmma;
  static constexpr int WORKERS = workers, WARPS = warps_y * warps_x * warps_n, WORKER_THREADS = 32 * WARPS;
  static constexpr int THREADS = WORKER_THREADS * workers;
  static constexpr int SCALE = shuffle ? 2 : 1;  // output pixels a pixel of the product, each way
  static constexpr int TILE_ROWS = rows * warps_y, TILE_COLUMNS = 16 * warps_x;
  static constexpr int WARP_TILES = tiles / warps_n;
  static constexpr int GROUP = WARP_TILES < 4 ? WARP_TILES : 4;  // tiles of which a lane's channels are neighbours
  static constexpr int GROUPS = WARP_TILES / GROUP;
  static_assert(warps_n * WARP_TILES == tiles && GROUPS * GROUP == WARP_TILES, "channels cannot be shared like this");
  static_assert(warps_n == 1 || WARP_TILES % 4 == 0, "a warp's channels are whole groups");
  static_assert(!upsample || (stages == 1 && stride == 1), "nothing is interpolated ahead");
  static_assert(!wgmma || (warps_n == 1 && tiles == 8 && channels == 64 && resident && warps_y * warps_x % 4 == 0),
                "no product of four warps for this");
  static_assert(!three || (tiles == 8 && !sft && !shuffle && !upsample && stride == 1), "nothing but that follows");
  static constexpr int OUT = tiles * 8;

  static constexpr int K = channels == 4 ? 40 : 9 * channels;  // rows of the product's right side, padded to eight
  static constexpr int UNIT = tiles % 2 ? 2 : 4;  // words that a lane reads at a time: one or two tiles' fragments
  static constexpr int WEIGHT_BYTES = K * OUT * 2;
  static constexpr int HALO_ROWS = (TILE_ROWS - 1) * stride + 3, HALO_COLUMNS = (TILE_COLUMNS - 1) * stride + 3;
  static constexpr int PIXEL_BYTES = 2 * channels, ROW_BYTES = HALO_COLUMNS * PIXEL_BYTES;
  static constexpr int HALO_BYTES = (HALO_ROWS * ROW_BYTES + 15) / 16 * 16;
  static constexpr int HIDDEN_ROWS = (TILE_ROWS - 1) * SCALE + 3, HIDDEN_COLUMNS = (TILE_COLUMNS - 1) * SCALE + 3;
  static constexpr int PLANE_BYTES = SFT ? HIDDEN_ROWS * HIDDEN_COLUMNS * 2 * HIDDEN : 0;

  static constexpr int SFT_AT = RESIDENT ? WEIGHT_BYTES : 0;
  static constexpr int HALO_AT = SFT_AT + (SFT_RESIDENT ? 2 * SFT_VECTORS * 16 : 0);
  static constexpr int PLANES_AT = stages * HALO_BYTES;  // behind a worker's halos: the hidden channels
  static constexpr int WORKER_BYTES = PLANES_AT + 2 * PLANE_BYTES;
  static constexpr int SHARED = HALO_AT + workers * WORKER_BYTES;

  static_assert(!three || 4 * SHARES * TILE_ROWS * TILE_COLUMNS <= HALO_BYTES, "shares take the place of the halo");

  // Where registers are scarce, what the loop over tiles needs of these numbers is worked out each time instead of
  // being kept, and tiles are counted with 32 bits, which are enough.
  typedef typename Number<SCARCE>::type number_t;
  template <class T> static __device__ __forceinline__ T anew(T number) {
    if constexpr (SCARCE) return again(number);
    return number;
  }

  // Where a column of hidden channels is in its row: after a shuffle every second one is read at a time, and neighbours
  // in other banks are what ldmatrix reads fastest.
  static __device__ __forceinline__ int hidden_column(int column) {
    return shuffle ? (column & 1) * (TILE_COLUMNS + 1) + (column >> 1) : column;
  }

  // Where a pixel's 16 bytes are within it: eight neighbouring pixels' fall into different banks.
  static __device__ __forceinline__ int swizzle(int column) {
    return channels == 64 ? column / stride & 7 : channels == 32 ? column / (2 * stride) & 3 : 0;
  }
};
