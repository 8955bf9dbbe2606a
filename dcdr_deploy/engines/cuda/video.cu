// Both passes over a whole frame of video: averaged down to what the network sees, and what it found put on, as samples
// of an HDR video. What happens in between is small and the processor's.
//
// A pixel's R'G'B' is a 16-bit code, off by one at most from that of run/video/yuv.py, and the same on every GPU: nothing
// of it is left to the compiler to contract. All curves are tables. Counts of pixels are 64 bits wide.

#include <cuda_fp16.h>

namespace {

typedef long long index_t;

constexpr int BLOCK = 256, BINS = 1600, STOPS = 16;
constexpr float TOP = 65535.f;

struct Codes {
    int red, green, blue;

    __device__ __forceinline__ int largest() const { return max(red, max(green, blue)); }
    __device__ __forceinline__ int smallest() const { return min(red, min(green, blue)); }
};

struct Light {
    float red, green, blue;
};

__device__ __forceinline__ float dot(const float* row, Light light) {
    return row[0] * light.red + row[1] * light.green + row[2] * light.blue;
}

__device__ __forceinline__ int code(float value) { return (int)fminf(fmaxf(value, 0.f), TOP); }

// A sample between its neighbours at twice their rate: place 2 k at sample k and 2 k + 1 in the middle to the next, or,
// where samples are centred, a quarter before and behind sample k.
template <class Samples>
__device__ __forceinline__ float between(Samples samples, int place, int count, bool doubled, bool centred) {
    if (!doubled) return samples(place);
    const int here = place >> 1;
    if (!(place & 1) && !centred) return samples(here);
    const int other = place & 1 ? min(here + 1, count - 1) : max(here - 1, 0);
    const float near = centred ? 0.75f : 0.5f, far = centred ? 0.25f : 0.5f;
    return __fadd_rn(__fmul_rn(samples(here), near), __fmul_rn(samples(other), far));
}

// Numbers of the matrix from Y'CbCr, in the order of video.py.
struct Matrix {
    float black, scale, neutral, chroma_scale, red, blue, green_red, green_blue;
};

// Planes Y' (H, W), Cb and Cr; Y' alone is gray.
template <class Sample>
struct Planes {
    const Sample *luma, *cb, *cr;
    const Matrix* matrix;
    int width, rows, columns;  // the latter two of a plane of chroma
    bool across, down, centred, level;

    __device__ __forceinline__ float chroma(const Sample* plane, int row, int column) const {
        const auto at_column = [&](int x) {
            const auto at = [&](int y) { return (float)__ldg(plane + (index_t)y * columns + x); };
            return between(at, row, rows, down, !level);
        };
        return between(at_column, column, columns, across, centred);
    }

    __device__ __forceinline__ Codes at(int row, int column) const {
        const Matrix m = *matrix;
        const float sample = (float)__ldg(luma + (index_t)row * width + column);
        const float y = __fadd_rn(__fmul_rn(__fadd_rn(sample, -m.black), m.scale), 0.5f);
        if (cb == nullptr) return {code(y), code(y), code(y)};
        const float u = __fmul_rn(__fadd_rn(chroma(cb, row, column), -m.neutral), m.chroma_scale);
        const float v = __fmul_rn(__fadd_rn(chroma(cr, row, column), -m.neutral), m.chroma_scale);
        const float green = __fadd_rn(__fadd_rn(y, __fmul_rn(v, m.green_red)), __fmul_rn(u, m.green_blue));
        return {code(__fadd_rn(__fmul_rn(v, m.red), y)), code(green), code(__fadd_rn(__fmul_rn(u, m.blue), y))};
    }
};

// R'G'B' (H, W, 3) as 16-bit codes.
struct Pixels {
    const unsigned short* codes;
    int width;

    __device__ __forceinline__ Codes at(int row, int column) const {
        const unsigned short* pixel = codes + 3 * ((index_t)row * width + column);
        return {__ldg(pixel), __ldg(pixel + 1), __ldg(pixel + 2)};
    }
};

__device__ __forceinline__ Light light_of(const float* table, Codes codes) {
    return {__ldg(table + codes.red), __ldg(table + codes.green), __ldg(table + codes.blue)};
}

// A cell of an axis: which pixels it reaches, and each one's part in it.
struct Span {
    index_t begin, end, unit;
    int first, last;

    __device__ __forceinline__ Span(int cell, int cells, int pixels)
        : begin((index_t)cell * pixels), end(begin + pixels), unit(cells), first((int)(begin / cells)),
          last((int)((end - 1) / cells)) {}

    __device__ __forceinline__ float part(int pixel) const {
        const index_t from = max(begin, pixel * unit), to = min(end, (pixel + 1) * unit);
        return (float)(to - from) / (float)(end - begin);
    }
};

// A thread takes a cell. cells: (h, w, 5) mean light, how far pixels are clipped, and the share of those that are;
// coloured becomes 1 where a pixel's channels differ by more than gray ones do.
template <class Source>
__device__ __forceinline__ void average(Source source, const float* light, const float* weight, float* cells,
                                        unsigned* coloured, int height, int width, int rows, int columns, int clipped,
                                        int gray) {
    const index_t cell = (index_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (cell >= (index_t)rows * columns) return;
    const Span down((int)(cell / columns), rows, height), across((int)(cell % columns), columns, width);
    float sum[5] = {};
    bool colour = false;
    for (int y = down.first; y <= down.last; ++y) {
        const float share = down.part(y);
        for (int x = across.first; x <= across.last; ++x) {
            const Codes codes = source.at(y, x);
            const Light found = light_of(light, codes);
            const float part = share * across.part(x);
            const int largest = codes.largest();
            colour |= largest - codes.smallest() > gray;
            sum[0] += part * found.red;
            sum[1] += part * found.green;
            sum[2] += part * found.blue;
            sum[3] += part * __ldg(weight + largest);
            if (largest >= clipped) sum[4] += part;
        }
    }
#pragma unroll
    for (int i = 0; i < 5; ++i) cells[5 * cell + i] = fminf(sum[i], 1.f);
    if (colour) *coloured = 1;
}

// A place of the full picture between the cells of an axis.
struct Place {
    int before, after;
    float part;

    __device__ __forceinline__ Place(int pixel, int pixels, int cells) {
        const index_t whole = 2 * (index_t)pixels;
        const index_t at = min(max((2 * (index_t)pixel + 1) * cells - pixels, (index_t)0), whole * (cells - 1));
        before = (int)(at / whole);
        after = min(before + 1, cells - 1);
        part = (float)(at % whole) / (float)whole;
    }
};

// A curve by a float's own bits (imaging/lookup.py); never negative.
__device__ __forceinline__ float curve(const float* table, float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return __ldg(table + (bits >> 11));
}

// Numbers of an HDR signal, in the order of video.py.
struct Signal {
    float factor, matrix[9], knee, luminance[3], samples[9], offset[3];
};

struct Statistics {
    float largest = 0.f, sum = 0.f;
    unsigned whole = 0;
};

// Light of a pixel with what was found on top, in units of SDR white; counts what became of it.
template <class Source>
struct Restored {
    Source source;
    const float *light, *weight, *field;
    int height, width, rows, columns, clipped;

    __device__ __forceinline__ Light at(int row, int column, bool counted, unsigned* bins, Statistics& told) const {
        const Codes codes = source.at(row, column);
        const Light before = light_of(light, codes);
        const int largest = codes.largest();
        Light after = before;
        const float share = __ldg(weight + largest);
        if (share > 0.f) {
            const Place y(row, height, rows), x(column, width, columns);
            const float* corners[4] = {cell(y.before, x.before), cell(y.before, x.after), cell(y.after, x.before),
                                       cell(y.after, x.after)};
            float found[5];
#pragma unroll
            for (int i = 0; i < 5; ++i) {
                const float a = __ldg(corners[0] + i), b = __ldg(corners[1] + i);
                const float c = __ldg(corners[2] + i), d = __ldg(corners[3] + i);
                const float above = a + (b - a) * x.part, below = c + (d - c) * x.part;
                found[i] = above + (below - above) * y.part;
            }
            const float excess = share * found[4] / found[3];
            after = {before.red + found[0] * excess, before.green + found[1] * excess, before.blue + found[2] * excess};
        }
        if (counted && largest >= clipped) {
            const float gain = max(gained(codes.red, before.red, after.red),
                                   max(gained(codes.green, before.green, after.green),
                                       gained(codes.blue, before.blue, after.blue)));
            const int bin = (int)(log2f(max(gain, 1.f)) * (float)(BINS / STOPS));
            atomicAdd(bins + min(bin, BINS - 1), 1u);
            told.whole += codes.smallest() >= clipped;
        }
        return after;
    }

    __device__ __forceinline__ const float* cell(int row, int column) const {
        return field + 5 * ((index_t)row * columns + column);
    }

    __device__ __forceinline__ float gained(int code, float before, float after) const {
        return code >= clipped ? after / max(before, 1e-6f) : 0.f;
    }
};

// Y', Cb and Cr of light in units of the network, without their offsets.
__device__ __forceinline__ Light samples_of(Light linear, const Signal& to, const float* roll, const float* transfer,
                                            const float* scene, bool counted, Statistics& told) {
    constexpr float MUCH = 1e9f;
    const Light light = {fminf(fmaxf(linear.red, 0.f), MUCH), fminf(fmaxf(linear.green, 0.f), MUCH),
                         fminf(fmaxf(linear.blue, 0.f), MUCH)};
    Light nits = {dot(to.matrix, light), dot(to.matrix + 3, light), dot(to.matrix + 6, light)};
    float largest = max(nits.red, max(nits.green, nits.blue)), scale = 1.f;
    if (largest > to.knee) {
        const float rolled = curve(roll, largest);
        scale = rolled / largest;
        largest = rolled;
    }
    if (counted) {
        told.largest = max(told.largest, largest);
        told.sum += largest;
    }
    nits = {nits.red * scale, nits.green * scale, nits.blue * scale};
    if (scene != nullptr) {
        const float factor = curve(scene, dot(to.luminance, nits));
        nits = {nits.red * factor, nits.green * factor, nits.blue * factor};
    }
    const Light signal = {curve(transfer, nits.red), curve(transfer, nits.green), curve(transfer, nits.blue)};
    return {dot(to.samples, signal), dot(to.samples + 3, signal), dot(to.samples + 6, signal)};
}

// The part of a luma sample in one of chroma: 1 2 1 along an axis where that lies beside the first of its own samples, the
// mean of them where it lies in their middle.
__device__ __forceinline__ float part_of(int place, int first, int count, bool beside) {
    if (!beside) return 1.f / (float)count;
    return place == first ? 0.5f : 0.25f;
}

// A thread makes one sample each of Cb and Cr, and of Y' those that share it. Planes are as large as whole samples of
// chroma need; beyond the frame its edge goes on. bins: of the recovery's histogram and, behind them, the pixels of
// which all channels are clipped; levels: a block's largest channel and its sum over pixels, in cd/m2.
template <class Source>
__device__ __forceinline__ void finish(Restored<Source> restored, const Signal* signal, const float* roll,
                                       const float* transfer, const float* scene, unsigned short* luma,
                                       unsigned short* cb, unsigned short* cr, unsigned* bins, float2* levels, int across,
                                       int down, bool level) {
    __shared__ unsigned counted[BINS + 1];
    __shared__ float2 found[BLOCK];
    for (int i = threadIdx.x; i <= BINS; i += BLOCK) counted[i] = 0;
    __syncthreads();
    const Signal to = *signal;
    const int columns = (restored.width + across - 1) / across, rows = (restored.height + down - 1) / down;
    const index_t place = (index_t)blockIdx.x * BLOCK + threadIdx.x;
    Statistics told;
    if (place < (index_t)rows * columns) {
        const int row = (int)(place / columns), column = (int)(place % columns);
        float blue = 0.f, red = 0.f;
        const int top = row * down, left = column * across;
        const bool above = level && down > 1, before = across > 1;
        for (int y = top - above; y < top + down; ++y) {
            for (int x = left - before; x < left + across; ++x) {
                const int at_row = max(min(y, restored.height - 1), 0), at_column = max(min(x, restored.width - 1), 0);
                const bool own = y >= top && x >= left;
                const bool inside = own && y == at_row && x == at_column;
                Light linear = restored.at(at_row, at_column, inside, counted, told);
                linear = {linear.red * to.factor, linear.green * to.factor, linear.blue * to.factor};
                const Light sample = samples_of(linear, to, roll, transfer, scene, inside, told);
                if (own) luma[(index_t)y * columns * across + x] = (unsigned short)(int)(sample.red + to.offset[0]);
                const float part = part_of(y, top, down, above) * part_of(x, left, across, before);
                blue += part * sample.green;
                red += part * sample.blue;
            }
        }
        cb[place] = (unsigned short)(int)(blue + to.offset[1]);
        cr[place] = (unsigned short)(int)(red + to.offset[2]);
        if (told.whole) atomicAdd(counted + BINS, told.whole);
    }
    found[threadIdx.x] = {told.largest, told.sum};
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            const float2 mine = found[threadIdx.x], other = found[threadIdx.x + half];
            found[threadIdx.x] = {max(mine.x, other.x), mine.y + other.y};
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) levels[blockIdx.x] = found[0];
    for (int i = threadIdx.x; i <= BINS; i += BLOCK)
        if (counted[i]) atomicAdd(bins + i, counted[i]);
}

}  // namespace

#define PLANES(Sample)                                                                                                 \
    Planes<Sample> { luma, cb, cr, matrix, width, chroma_rows, chroma_columns, across > 1, down > 1, centred != 0, level != 0 }

#define OF_PLANES(suffix, Sample)                                                                                      \
    extern "C" __global__ void average_##suffix(                                                                         \
        const Sample* luma, const Sample* cb, const Sample* cr, const Matrix* matrix, int chroma_rows,                 \
        int chroma_columns, int across, int down, int centred, int level, const float* light, const float* weight,     \
        float* cells, unsigned* coloured, int height, int width, int rows, int columns, int clipped, int gray) {       \
        average(PLANES(Sample), light, weight, cells, coloured, height, width, rows, columns, clipped, gray);          \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(BLOCK) finish_##suffix(                                               \
        const Sample* luma, const Sample* cb, const Sample* cr, const Matrix* matrix, int chroma_rows,                 \
        int chroma_columns, int across, int down, int centred, int level, const float* light, const float* weight,     \
        const float* field, int height, int width, int rows, int columns, int clipped, const Signal* signal,           \
        const float* roll, const float* transfer, const float* scene, unsigned short* to_luma, unsigned short* to_cb,  \
        unsigned short* to_cr, unsigned* bins, float2* levels, int to_across, int to_down, int to_level) {             \
        const Restored<Planes<Sample>> restored = {PLANES(Sample), light, weight, field, height, width, rows, columns, \
                                                   clipped};                                                           \
        finish(restored, signal, roll, transfer, scene, to_luma, to_cb, to_cr, bins, levels, to_across, to_down,       \
               to_level != 0);                                                                                         \
    }

OF_PLANES(planes8, unsigned char)
OF_PLANES(planes16, unsigned short)

extern "C" __global__ void
    average_pixels(const unsigned short* codes, const float* light, const float* weight, float* cells, unsigned* coloured,
                   int height, int width, int rows, int columns, int clipped, int gray) {
    average(Pixels{codes, width}, light, weight, cells, coloured, height, width, rows, columns, clipped, gray);
}

extern "C" __global__ void
    finish_pixels(const unsigned short* codes, const float* light, const float* weight, const float* field, int height,
                  int width, int rows, int columns, int clipped, const Signal* signal, const float* roll,
                  const float* transfer, const float* scene, unsigned short* to_luma, unsigned short* to_cb,
                  unsigned short* to_cr, unsigned* bins, float2* levels, int to_across, int to_down, int to_level) {
    const Restored<Pixels> restored = {Pixels{codes, width}, light, weight, field, height, width, rows, columns, clipped};
    finish(restored, signal, roll, transfer, scene, to_luma, to_cb, to_cr, bins, levels, to_across, to_down,
           to_level != 0);
}
