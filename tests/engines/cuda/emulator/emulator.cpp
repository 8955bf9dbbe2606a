// Runs the kernels of a source on the CPU. Compiled with -DKERNEL_SM=75 or 80, -DEMULATED='"dcrb.cu"', -DENTRIES= the
// kernels as ENTRY(name), ..., the folder of the real source in -I, and -fno-strict-aliasing, which device compilers imply.
//
// Buffers are mapped between pages that cannot be touched, and a launch runs in a child process: a kernel that reads or
// writes outside its buffers dies there, and emulated_launch says so.
#include "cuda_fp16.h"

#include EMULATED

#include <csetjmp>
#include <csignal>
#include <functional>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <utility>
#include <vector>

index3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
constexpr size_t STACK = 64 << 10;

struct Copy {
  void* to;
  const void* from;
  int bytes;
};
struct Fiber {
  Point point;
  int barrier;              // its number, while the fiber waits at one
  unsigned barrier_threads;  // how many threads meet there
  jmp_buf resume;
  std::vector<std::vector<Copy>> copies;  // groups that were committed, then the one that is growing
};
std::vector<Fiber> fibers;
std::vector<Mail> mails;
std::vector<char> stacks;
jmp_buf scheduler;
std::function<void()> kernel;
uint4* shared = nullptr;

float float_of(uint16_t code) {
  const int exponent = code >> 10 & 31, mantissa = code & 1023;
  const float size = exponent == 31 ? (mantissa ? NAN : INFINITY)
                                    : std::ldexp((float)(exponent ? mantissa + 1024 : mantissa), std::max(exponent, 1) - 25);
  return code & 0x8000 ? -size : size;
}
const std::vector<float> FLOATS = [] {
  std::vector<float> all(1 << 16);
  for (int code = 0; code < 1 << 16; ++code) all[code] = float_of(code);
  return all;
}();
uint4* shared_memory() { return shared; }

void begin_copy(void* to, const void* from, int bytes) {
  auto& groups = fibers[threadIdx.x].copies;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, from, bytes});
}
void commit_copies() {
  auto& groups = fibers[threadIdx.x].copies;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}
void wait_copies(unsigned pending) {
  auto& groups = fibers[threadIdx.x].copies;
  while (groups.size() > pending + 1) {
    for (const Copy& copy : groups.front()) {
      if (copy.from) memcpy(copy.to, copy.from, copy.bytes);
      else memset(copy.to, 0, copy.bytes);
    }
    groups.erase(groups.begin());
  }
}

void wait(Point point) {
  Fiber& me = fibers[threadIdx.x];
  me.point = point;
  if (!_setjmp(me.resume)) _longjmp(scheduler, 1);
}

void meet(int number, unsigned threads) {
  Fiber& me = fibers[threadIdx.x];
  me.barrier = number;
  me.barrier_threads = threads ? threads : fibers.size();
  wait(BARRIER);
}

void enter() {
  kernel();
  fibers[threadIdx.x].point = ENDED;
  _longjmp(scheduler, 1);
}

// Runs a thread to its next point of waiting. A context of its own is needed only to get onto the fiber's stack.
void advance(unsigned thread) {
  threadIdx.x = thread;
  if (_setjmp(scheduler)) return;
  if (fibers[thread].point != RUNNING) _longjmp(fibers[thread].resume, 1);
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = &stacks[thread * STACK];
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, enter, 0);
  setcontext(&context);
}

constexpr unsigned WARP = 32;

// Runs a warp to its next barrier or its end. False where its threads do not wait at the same kind of point.
bool run_warp(unsigned first, bool reversed) {
  do {
    for (unsigned i = 0; i < WARP; ++i) advance(first + (reversed ? WARP - 1 - i : i));
    for (unsigned i = 0; i < WARP; ++i) {
      const Fiber &one = fibers[first], &other = fibers[first + i];
      if (other.point != one.point || (one.point == BARRIER && other.barrier != one.barrier)) return false;
    }
  } while (fibers[first].point != BARRIER && fibers[first].point != ENDED);
  return true;
}

// How many threads wait at a barrier.
unsigned waiting_at(int barrier) {
  unsigned count = 0;
  for (const Fiber& fiber : fibers) count += fiber.point == BARRIER && fiber.barrier == barrier;
  return count;
}

// Runs a block. False where threads that should meet do not.
bool run_block(unsigned threads, bool reversed) {
  const unsigned warps = threads / WARP;
  for (Fiber& fiber : fibers) fiber.point = RUNNING, fiber.copies.clear();
  std::vector<bool> free(warps, true);  // whether a warp may run: none of its threads waits for other warps
  for (;;) {
    for (unsigned i = 0; i < warps; ++i) {
      const unsigned warp = reversed ? warps - 1 - i : i;
      if (free[warp] && !run_warp(warp * WARP, reversed)) return false;
    }
    bool all_ended = true, any_free = false;
    for (unsigned warp = 0; warp < warps; ++warp) {
      const Fiber& fiber = fibers[warp * WARP];
      all_ended &= fiber.point == ENDED;
      free[warp] = fiber.point == BARRIER && waiting_at(fiber.barrier) == fiber.barrier_threads;
      any_free |= free[warp];
    }
    if (all_ended) return true;
    if (!any_free) return false;
  }
}

// Calls a kernel with arguments as cuLaunchKernel takes them: pointers to the values.
template <class... A, size_t... I>
void apply(void (*function)(A...), void** values, std::index_sequence<I...>) {
  function(*static_cast<std::remove_const_t<A>*>(values[I])...);
}
template <class... A> std::function<void(void**)> callable(void (*function)(A...)) {
  return [function](void** values) { apply(function, values, std::index_sequence_for<A...>()); };
}
template <class... A> std::vector<int> parameter_sizes(void (*)(A...)) { return {(int)sizeof(A)...}; }

struct Entry {
  std::string name;
  std::function<void(void**)> call;
  std::vector<int> sizes;
};
#define ENTRY(name) {#name, callable(name), parameter_sizes(name)}
const std::vector<Entry> KERNELS = {ENTRIES};

struct Guarded {
  char* base;  // an untouchable page, the usable pages, an untouchable page
  size_t usable;
  size_t page = sysconf(_SC_PAGESIZE);
  explicit Guarded(size_t bytes) {
    usable = (bytes + page - 1) / page * page;
    base = (char*)mmap(nullptr, usable + 2 * page, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mprotect(base + page, usable, PROT_READ | PROT_WRITE);
  }
  void* place(size_t bytes, bool at_end) const { return base + page + (at_end ? usable - bytes : 0); }
};
}  // namespace emulator

using namespace emulator;

enum Outcome { DONE = 0, NO_SUCH_KERNEL = 1, OUT_OF_BOUNDS = 2, DIVERGED = 3 };

// A buffer that ends (at_end) or begins exactly at a page that cannot be touched; child processes share it.
extern "C" void* guarded_alloc(size_t bytes, int at_end) { return Guarded(bytes).place(bytes, at_end); }

extern "C" int kernel_index(const char* name) {
  for (size_t i = 0; i < KERNELS.size(); ++i)
    if (KERNELS[i].name == name) return (int)i;
  return -1;
}
extern "C" int parameter_size(int index, int parameter) {
  const auto& sizes = KERNELS[index].sizes;
  return parameter < (int)sizes.size() ? sizes[parameter] : 0;
}

// reversed: threads and blocks run in the opposite order; a missing barrier shows as another result.
extern "C" int emulated_launch(int index, unsigned grid, unsigned block, size_t shared_bytes, int reversed, void** values) {
  if (index < 0 || index >= (int)KERNELS.size()) return NO_SUCH_KERNEL;
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // whoever loaded this library may print stacks on a fault
    signal(SIGBUS, SIG_DFL);
    const Guarded memory(shared_bytes);
    shared = (uint4*)memory.place(shared_bytes, true);
    fibers.resize(block);
    mails.resize(block);
    stacks.resize(block * STACK);
    gridDim.x = grid;
    blockDim.x = block;
    kernel = [&] { KERNELS[index].call(values); };
    for (unsigned i = 0; i < grid; ++i) {
      blockIdx.x = reversed ? grid - 1 - i : i;
      memset(memory.place(shared_bytes, true), 0xff, shared_bytes);  // NaN: nothing is left over from another block
      if (!run_block(block, reversed)) _exit(DIVERGED);
    }
    _exit(DONE);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : OUT_OF_BOUNDS;
}
