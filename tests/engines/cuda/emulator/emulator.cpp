// Runs kernels on the CPU: what is the same for all of them, compiled once; kernels.cpp is the part that is not. Needs
// -fno-strict-aliasing, which device compilers imply.
//
// Buffers are mapped between pages that cannot be touched: a kernel that reads or writes outside its buffers ends there,
// and emulated_launch says so. A child process for each launch would do too, but copies the page tables of a test process
// of gigabytes, which takes longer than most launches.
#include "kernels.h"

#include <csetjmp>
#include <csignal>
#include <functional>
#include <memory>
#include <pthread.h>
#include <random>
#include <string>
#include <sys/mman.h>
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
std::vector<Products> products;
constexpr size_t COMPLAINT = 256;
char complaint[COMPLAINT];  // why a launch was stopped
std::unique_ptr<char[]> stacks;  // not filled with zeros: most of each is never touched
size_t stacks_held = 0;
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

int launched;  // its place among the kernels
enum Outcome { DONE = 0, NO_SUCH_KERNEL = 1, OUT_OF_BOUNDS = 2, DIVERGED = 3, FAULTY = 4 };

constexpr unsigned WARP = 32;
enum Order { FORWARDS, BACKWARDS };  // of threads, warps and blocks; from 2 on warps take turns by a seed
std::mt19937 chance;

// The launch in progress, which can be left from any fiber.
sigjmp_buf caller;
pthread_t launcher;

[[noreturn]] void leave(Outcome outcome) { siglongjmp(caller, 1 + outcome); }

void touched_what_is_not_its_own(int number) {
  if (pthread_equal(pthread_self(), launcher)) leave(OUT_OF_BOUNDS);
  signal(number, SIG_DFL);  // another thread's matter: it dies where it was
}

// Takes the signals of bad addresses for as long as a launch lasts.
class Watch {
  struct sigaction before[2];
  static constexpr int SIGNALS[2] = {SIGSEGV, SIGBUS};

 public:
  Watch() {
    launcher = pthread_self();
    struct sigaction now = {};
    now.sa_handler = touched_what_is_not_its_own;
    for (int i = 0; i < 2; ++i) sigaction(SIGNALS[i], &now, &before[i]);
  }
  ~Watch() {
    for (int i = 0; i < 2; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
  }
};

void fault(const char* what) {
  snprintf(complaint, COMPLAINT, "%s (%s, block %u, warp %u)", what, KERNELS[launched].name, blockIdx.x,
           own_warp());
  leave(FAULTY);
}

// Whether another warp may run now: nothing of what a warp shares with itself is in use.
bool between_steps(Point point) {
  return point == TOGETHER || point == SHUFFLED || point == MULTIPLIED || point == MATRIX_READ || point == WGMMA_BEGUN ||
         point == WGMMA_DONE;
}

// Runs a warp to its next barrier or its end, or by a seed to where another warp's turn comes. False where its threads
// do not wait at the same kind of point.
bool run_warp(unsigned first, int order) {
  const bool reversed = order == BACKWARDS;
  do {
    if (order > BACKWARDS && between_steps(fibers[first].point) && chance() % 16 == 0) break;
    for (unsigned i = 0; i < WARP; ++i) advance(first + (reversed ? WARP - 1 - i : i));
    for (unsigned i = 0; i < WARP; ++i) {
      const Fiber &one = fibers[first], &other = fibers[first + i];
      if (other.point != one.point || (one.point == BARRIER && other.barrier != one.barrier)) return false;
    }
  } while (fibers[first].point != BARRIER && fibers[first].point != ENDED);
  if (TRACKED) proxy.notice(first / WARP);
  return true;
}

// How many threads wait at a barrier.
unsigned waiting_at(int barrier) {
  unsigned count = 0;
  for (const Fiber& fiber : fibers) count += fiber.point == BARRIER && fiber.barrier == barrier;
  return count;
}

// What is left to complain about when a block has ended.
void require_finished_products() {
  for (threadIdx.x = 0; threadIdx.x < products.size(); ++threadIdx.x) {
    const Products& own = mine();
    if (own.groups.size() > 1 || !own.groups.back().empty()) fault("a product is not waited for");
    if (own.trace != products[threadIdx.x / 128 * 128].trace) fault("the warps of a group multiply by different matrices");
  }
}

// Runs a block. False where threads that should meet do not.
bool run_block(unsigned threads, size_t shared_bytes, int order) {
  const unsigned warps = threads / WARP;
  for (Fiber& fiber : fibers) fiber.point = RUNNING, fiber.copies.clear();
  for (Products& each : products) each = {false, {{}}, {}, 0};
  if (TRACKED) proxy.begin(shared_bytes, warps);
  std::vector<bool> free(warps, true);  // whether a warp may run: none of its threads waits for other warps
  std::vector<unsigned> turns(warps);
  for (unsigned i = 0; i < warps; ++i) turns[i] = order == BACKWARDS ? warps - 1 - i : i;
  for (;;) {
    if (order > BACKWARDS) std::shuffle(turns.begin(), turns.end(), chance);
    for (const unsigned warp : turns)
      if (free[warp] && !run_warp(warp * WARP, order)) return false;
    bool all_ended = true, any_free = false;
    std::vector<unsigned> met;
    for (unsigned warp = 0; warp < warps; ++warp) {
      const Fiber& fiber = fibers[warp * WARP];
      const bool there = fiber.point == BARRIER && waiting_at(fiber.barrier) == fiber.barrier_threads;
      all_ended &= fiber.point == ENDED;
      free[warp] = there || (fiber.point != BARRIER && fiber.point != ENDED);
      any_free |= free[warp];
      if (there && TRACKED) proxy.arrive(fiber.barrier, warp);
    }
    if (TRACKED) proxy.leave_barriers();
    if (all_ended) break;
    if (!any_free) return false;
  }
  require_finished_products();
  return true;
}

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
  void give_back() { munmap(base, usable + 2 * page); }
};
}  // namespace emulator

using namespace emulator;

// A buffer that ends (at_end) or begins exactly at a page that cannot be touched.
extern "C" void* guarded_alloc(size_t bytes, int at_end) { return Guarded(bytes).place(bytes, at_end); }

extern "C" int kernel_index(const char* name) {
  for (int i = 0; i < KERNEL_COUNT; ++i)
    if (!strcmp(KERNELS[i].name, name)) return i;
  return -1;
}
extern "C" int parameter_size(int index, int parameter) {
  return KERNELS[index].parameter_size(parameter);
}

// What a launch did that a GPU does not forgive, where its outcome is FAULTY.
extern "C" const char* emulated_fault() { return complaint; }

// order: BACKWARDS runs threads and blocks in the opposite order, a seed from 2 on warps in turns: a missing barrier
// shows as another result.
extern "C" int emulated_launch(int index, unsigned grid, unsigned block, size_t shared_bytes, int order, void** values) {
  if (index < 0 || index >= KERNEL_COUNT) return NO_SUCH_KERNEL;
  launched = index;
  fibers.resize(block);
  mails.resize(block);
  products.resize(block);
  chance.seed(order);
  if (block * STACK > stacks_held) stacks.reset(new char[stacks_held = block * STACK]);
  gridDim.x = grid;
  blockDim.x = block;
  kernel = [=] { KERNELS[index].call(values); };
  Guarded memory(shared_bytes);
  shared = (uint4*)memory.place(shared_bytes, true);
  const Watch watch;
  volatile int outcome = DONE;
  if (const int left = sigsetjmp(caller, 1)) outcome = left - 1;
  else
    for (unsigned i = 0; i < grid && outcome == DONE; ++i) {
      blockIdx.x = order == BACKWARDS ? grid - 1 - i : i;
      memset(memory.place(shared_bytes, true), 0xff, shared_bytes);  // NaN: nothing is left over from another block
      if (!run_block(block, shared_bytes, order)) outcome = DIVERGED;
    }
  memory.give_back();
  return outcome;
}
