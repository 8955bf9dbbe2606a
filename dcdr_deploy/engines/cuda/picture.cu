// Both ends of the network. A picture as it lies in memory -> what the network begins with: the image in half precision,
// four channels a pixel of which the last is zero, and the image averaged over 4 x 4 pixels. And the result -> whether
// all of it are numbers.
//
// A thread takes 4 x 4 pixels, so that the picture is read once; all its accesses are 4 to 16 bytes wide. Height and
// width are multiples of 4. Averages are taken of FP32 numbers and rounded once. Counts of pixels are 64 bits wide.

#include <cuda_fp16.h>

namespace {

typedef long long index_t;

constexpr int EDGE = 4;

struct Pixel {
    float red, green, blue;
};

__device__ __forceinline__ unsigned word(float a, float b) {
    const half2 pair = __floats2half2_rn(a, b);
    return *reinterpret_cast<const unsigned*>(&pair);
}

// Codes (N, H, W, 3) of BITS bits: four neighbouring pixels begin at a multiple of four bytes. Divided, not multiplied
// by a reciprocal, as the host's own normalisation.
template <int BITS>
struct Codes {
    const unsigned* source;
    static constexpr int PER_WORD = 32 / BITS, WORDS = 12 / PER_WORD;
    static constexpr unsigned LARGEST = (1u << BITS) - 1;

    __device__ __forceinline__ void load(index_t pixel, index_t, index_t, Pixel (&row)[EDGE]) const {
        float value[12];
#pragma unroll
        for (int i = 0; i < WORDS; ++i) {
            const unsigned codes = __ldg(source + pixel / EDGE * WORDS + i);
#pragma unroll
            for (int k = 0; k < PER_WORD; ++k)
                value[i * PER_WORD + k] = __fdiv_rn((float)(codes >> (BITS * k) & LARGEST), (float)LARGEST);
        }
#pragma unroll
        for (int i = 0; i < EDGE; ++i) row[i] = {value[3 * i], value[3 * i + 1], value[3 * i + 2]};
    }
};

// Numbers in [0, 1], (N, 3, H, W).
struct Planes {
    const float* source;

    __device__ __forceinline__ void load(index_t pixel, index_t image, index_t pixels, Pixel (&row)[EDGE]) const {
        const float* first = source + pixel + 2 * image * pixels;
        const float4 red = __ldg(reinterpret_cast<const float4*>(first));
        const float4 green = __ldg(reinterpret_cast<const float4*>(first + pixels));
        const float4 blue = __ldg(reinterpret_cast<const float4*>(first + 2 * pixels));
        row[0] = {red.x, green.x, blue.x};
        row[1] = {red.y, green.y, blue.y};
        row[2] = {red.z, green.z, blue.z};
        row[3] = {red.w, green.w, blue.w};
    }
};

// image: (N, H, W, 4) as two pixels a uint4; small: (N, H / 4, W / 4, 4) as a pixel a uint2.
template <class Source>
__device__ __forceinline__ void to_image(Source source, uint4* image, uint2* small, int images, int height, int width) {
    const index_t columns = width / EDGE, rows = height / EDGE, squares = columns * rows;
    const index_t square = (index_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (square >= squares * images) return;
    const index_t number = square / squares, place = square % squares;
    const index_t pixels = (index_t)height * width;
    index_t pixel = number * pixels + place / columns * EDGE * width + place % columns * EDGE;
    Pixel sum = {0.f, 0.f, 0.f};
#pragma unroll
    for (int y = 0; y < EDGE; ++y, pixel += width) {
        Pixel row[EDGE];
        source.load(pixel, number, pixels, row);
#pragma unroll
        for (int x = 0; x < EDGE; ++x) sum = {sum.red + row[x].red, sum.green + row[x].green, sum.blue + row[x].blue};
#pragma unroll
        for (int x = 0; x < EDGE; x += 2)
            image[(pixel + x) / 2] = make_uint4(word(row[x].red, row[x].green), word(row[x].blue, 0.f),
                                                word(row[x + 1].red, row[x + 1].green), word(row[x + 1].blue, 0.f));
    }
    constexpr float SHARE = 1.f / (EDGE * EDGE);
    small[square] = make_uint2(word(sum.red * SHARE, sum.green * SHARE), word(sum.blue * SHARE, 0.f));
}

}  // namespace

extern "C" __global__ void codes8_to_image(const unsigned* codes, uint4* image, uint2* small, int images, int height,
                                           int width) {
    to_image(Codes<8>{codes}, image, small, images, height, width);
}

extern "C" __global__ void codes16_to_image(const unsigned* codes, uint4* image, uint2* small, int images, int height,
                                            int width) {
    to_image(Codes<16>{codes}, image, small, images, height, width);
}

extern "C" __global__ void planes_to_image(const float* planes, uint4* image, uint2* small, int images, int height,
                                           int width) {
    to_image(Planes{planes}, image, small, images, height, width);
}

// found = 1 where NaN or infinity is among the values, four a thread at a time; 0 has to be there before.
extern "C" __global__ void find_unfinite(const uint4* values, index_t count, unsigned* found) {
    constexpr unsigned EXPONENT = 0x7f800000u;
    bool any = false;
    for (index_t i = (index_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (index_t)gridDim.x * blockDim.x) {
        const uint4 v = __ldg(values + i);
        any |= (v.x & EXPONENT) == EXPONENT || (v.y & EXPONENT) == EXPONENT || (v.z & EXPONENT) == EXPONENT ||
               (v.w & EXPONENT) == EXPONENT;
    }
    if (any) *found = 1;
}
