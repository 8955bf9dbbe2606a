// Matrix products of two groups of four warps that share their right sides, one after the other in one place of shared
// memory; right, and with one thing left out or wrong at a time, for a test of the emulator.
#include "tensor_cores.cuh"

enum Mistake {
  NOTHING, NOT_SHOWN, NO_BARRIER_BEFORE, NO_BARRIER_AFTER, WRITTEN_IN_FLIGHT, LEFT_CHANGED, SUMS_READ, SUMS_WRITTEN,
  NOT_BEGUN, NOT_WAITED_FOR, APART, SHOWN_BY_SOMEBODY_ELSE, COPY_NOT_SHOWN
};
constexpr int THREADS = 256, RIGHT_VECTORS = 128;

// out (THREADS, 32): the sums over `steps` products of left (steps, THREADS, 4 words) and right (steps, 2 KiB).
template <Mistake MISTAKE> void multiply_all(const uint32_t* left, const uint4* right, float* out, int steps) {
  uint4* const place = dynamic_shared();
  const int thread = threadIdx.x;
  float sum[8][4] = {};
  uint32_t a[4];
  float early = 0;
  for (int step = 0; step < steps; ++step) {
    for (int i = 0; i < 4; ++i) a[i] = left[(step * THREADS + thread) * 4 + i];
    if (thread < RIGHT_VECTORS) {
      if (MISTAKE == COPY_NOT_SHOWN) {
        show_to_products();
        copy16(shared_address(place + thread), right + step * RIGHT_VECTORS + thread, true);
      } else {
        place[thread] = right[step * RIGHT_VECTORS + thread];
      }
    }
    commit_copies();
    wait_copies<0>();
    const bool writer = thread < RIGHT_VECTORS;
    if (MISTAKE == SHOWN_BY_SOMEBODY_ELSE ? !writer : MISTAKE != NOT_SHOWN && MISTAKE != COPY_NOT_SHOWN)
      show_to_products();
    if (MISTAKE != NO_BARRIER_BEFORE) __syncthreads();
    if (MISTAKE != NOT_BEGUN) begin_products();
    wgmma_n64(sum, a, product_at(place) + (MISTAKE == APART && thread / 32 == 1 ? 128 : 0));
    commit_products();
    if (MISTAKE == LEFT_CHANGED) a[0] += 1;
    if (MISTAKE == SUMS_READ) early += sum[0][0];
    if (MISTAKE == SUMS_WRITTEN) sum[0][0] = 1;
    if (MISTAKE != WRITTEN_IN_FLIGHT && MISTAKE != NOT_WAITED_FOR) wait_products<0>();
    if (MISTAKE != NO_BARRIER_AFTER) __syncthreads();
  }
  if (MISTAKE != NOT_WAITED_FOR) wait_products<0>();
  for (int i = 0; i < 32; ++i) out[thread * 32 + i] = sum[i / 4][i % 4] + 0 * early;
}

#define KERNEL(name, mistake)                                                                    \
  extern "C" void name(const uint32_t* left, const uint4* right, float* out, int steps) {        \
    multiply_all<mistake>(left, right, out, steps);                                              \
  }
KERNEL(nothing, NOTHING)
KERNEL(not_shown, NOT_SHOWN)
KERNEL(no_barrier_before, NO_BARRIER_BEFORE)
KERNEL(no_barrier_after, NO_BARRIER_AFTER)
KERNEL(written_in_flight, WRITTEN_IN_FLIGHT)
KERNEL(left_changed, LEFT_CHANGED)
KERNEL(sums_read, SUMS_READ)
KERNEL(sums_written, SUMS_WRITTEN)
KERNEL(not_begun, NOT_BEGUN)
KERNEL(not_waited_for, NOT_WAITED_FOR)
KERNEL(apart, APART)
KERNEL(shown_by_somebody_else, SHOWN_BY_SOMEBODY_ELSE)
KERNEL(copy_not_shown, COPY_NOT_SHOWN)
