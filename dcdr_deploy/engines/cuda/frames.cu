// Between pictures and the network: codes to planes before it, planes to half precision behind it.
//
// A picture travels to the GPU as it lies in memory, (N, H, W, 3) of 8 or 16 bits, which is a quarter or a half of
// float32; a result travels back in half precision. One thread a pixel, or a value; the grid may be smaller than
// the work. All counts are 64 bits wide: a batch of 4K tiles has more values than 31 bits can count.

#include <cuda_fp16.h>

namespace {

__device__ long long first() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ long long step() { return (long long)gridDim.x * blockDim.x; }

// codes: (images, pixels, 3); planes: (images, 3, pixels) in [0, 1]. Divided, not multiplied by a reciprocal: the
// numbers are those of the host's own normalisation, to the last bit.
template <typename Code>
__device__ void codes_to_planes(const Code* codes, float* planes, long long images, long long pixels, float largest) {
    for (long long i = first(); i < images * pixels; i += step()) {
        const long long image = i / pixels;
        const Code* code = codes + 3 * i;
        float* plane = planes + 2 * image * pixels + i;  // 3 * image * pixels + (i - image * pixels)
        plane[0] = __fdiv_rn((float)code[0], largest);
        plane[pixels] = __fdiv_rn((float)code[1], largest);
        plane[2 * pixels] = __fdiv_rn((float)code[2], largest);
    }
}

}  // namespace

extern "C" __global__ void codes8_to_planes(const unsigned char* codes, float* planes, long long images,
                                            long long pixels) {
    codes_to_planes(codes, planes, images, pixels, 255.0f);
}

extern "C" __global__ void codes16_to_planes(const unsigned short* codes, float* planes, long long images,
                                             long long pixels) {
    codes_to_planes(codes, planes, images, pixels, 65535.0f);
}

// Rounds to the nearest half; beyond 65504 to infinity, which the runner reports.
extern "C" __global__ void planes_to_half(const float* planes, __half* halves, long long count) {
    for (long long i = first(); i < count; i += step()) halves[i] = __float2half_rn(planes[i]);
}
