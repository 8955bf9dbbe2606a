// Products of four warps (wgmma) as late as a GPU may make them, and what a GPU does not forgive around them.
//
// A product is made when a wait asks for it. Until then its sums hold NaN, and what it needs must stay as it was when it
// was begun: sums and left side in the thread's registers, right side in shared memory. The tensor cores read shared
// memory by a way of their own (PTX: the async proxy): what a warp has written there they see after that warp's
// show_to_products, other warps' products after a barrier on top; and a warp may write where another one's product has
// read after a barrier behind the wait for it. Barriers order warps whatever the order in which they happen to run here.
//
// Writes are found by comparing shared memory with what it was, so one that changes nothing is none. The fence is
// expected of the warp that writes, although PTX would have it anywhere between the write and the product.
#pragma once
#include <map>

namespace emulator {
constexpr int RIGHT_BYTES = 64 * 16 * 2;  // of a product: 64 columns of 16 rows
constexpr uint32_t IN_FLIGHT = ~0u;

[[noreturn]] void fault(const char* what);

struct Word {               // of shared memory
  uint32_t visible;         // to the products of which warps, a bit each
  uint32_t writer, fenced;  // the warp that wrote it, and whether it was shown since
};

// Shared memory as the async proxy sees it.
class Proxy {
  std::vector<uint32_t> known;            // shared memory when it was looked at last
  std::vector<Word> words;
  std::vector<std::vector<uint32_t>> read;  // by warp and word: its time when a product had read the word, or IN_FLIGHT
  std::map<int, uint32_t> arrived;          // warps by barrier
  uint32_t time[32], heard[32][32];       // of each warp, and what each one knows of the others by barriers

  const uint32_t* memory() const { return (const uint32_t*)shared_memory(); }

 public:
  void begin(size_t bytes, unsigned warps) {
    arrived.clear();
    known.assign(memory(), memory() + bytes / 4);
    words.assign(bytes / 4, {0, 0, 0});
    read.assign(warps, std::vector<uint32_t>(bytes / 4, 0));
    for (unsigned i = 0; i < 32; ++i) {
      time[i] = 1;
      for (unsigned j = 0; j < 32; ++j) heard[i][j] = 0;
    }
  }
  // What has changed was written by the warp that runs.
  void notice(unsigned warp) {
    constexpr size_t STEP = 64;
    for (size_t first = 0; first < known.size(); first += STEP) {
      const size_t end = min(first + STEP, known.size());
      if (!memcmp(&known[first], memory() + first, 4 * (end - first))) continue;
      for (size_t i = first; i < end; ++i) {
        if (known[i] == memory()[i]) continue;
        known[i] = memory()[i];
        words[i] = {0, warp, 0};
        for (unsigned other = 0; other < read.size(); ++other) {
          const bool too_early = other == warp ? read[other][i] == IN_FLIGHT : read[other][i] > heard[warp][other];
          if (read[other][i] && too_early) fault("shared memory is written while a product may still read it");
        }
      }
    }
  }
  void fence(unsigned warp) {
    notice(warp);
    for (Word& word : words)
      if (word.writer == warp && !word.fenced) word.fenced = 1, word.visible |= 1u << warp;
  }
  void arrive(int barrier, unsigned warp) { arrived[barrier] |= 1u << warp; }
  // All warps that have arrived at a barrier leave it.
  void leave_barriers() {
    for (const auto& each : arrived) met(each.second);
    arrived.clear();
  }
  void met(uint32_t warps) {
    for (unsigned i = 0; i < read.size(); ++i)
      if (warps >> i & 1) heard[i][i] = time[i]++;
    uint32_t all[32] = {};
    for (unsigned i = 0; i < read.size(); ++i)
      for (unsigned of = 0; of < read.size(); ++of)
        if (warps >> i & 1) all[of] = max(all[of], heard[i][of]);
    for (unsigned i = 0; i < read.size(); ++i)
      if (warps >> i & 1) memcpy(heard[i], all, sizeof all);
    for (Word& word : words)
      if (word.visible & warps) word.visible |= warps;
  }
  void product_begins(unsigned warp, const char* right) {
    notice(warp);
    mark(warp, right, IN_FLIGHT);
    for (size_t i = place(right); i < place(right) + RIGHT_BYTES / 4; ++i)
      if (!(words[i].visible >> warp & 1)) fault("a product reads shared memory that was not shown to it");
  }
  void product_ends(unsigned warp, const char* right) { mark(warp, right, time[warp]); }
  void mark(unsigned warp, const char* right, uint32_t when) {
    std::fill_n(read[warp].begin() + place(right), RIGHT_BYTES / 4, when);
  }

 private:
  size_t place(const char* right) const {
    const size_t at = (right - (const char*)memory()) / 4;
    if (at + RIGHT_BYTES / 4 > words.size()) fault("a product reads outside of shared memory");
    return at;
  }
};
inline Proxy proxy;

struct Sums {  // in flight, of a thread
  float (*where)[4];
  float values[8][4];
  int products;  // that still add to them
};
struct Product {
  float (*sums)[4];
  const uint32_t* left;
  uint32_t left_then[4];
  const char* right;
};
struct Products {  // of a thread
  bool begun;
  std::vector<std::vector<Product>> groups;  // that were committed, then the one that is growing
  std::vector<Sums> sums;
  uint64_t trace;  // of what was multiplied: the same for all threads of four warps

  Sums& sums_at(float (*where)[4]) {
    for (Sums& each : sums)
      if (each.where == where) return each;
    sums.push_back({where});
    memcpy(sums.back().values, where, sizeof sums.back().values);
    memset(where, 0xff, sizeof sums.back().values);
    return sums.back();
  }
  // A product adds to its sums no more; after the last one they are in their registers again.
  void leave(Sums& from) {
    if (--from.products) return;
    for (int i = 0; i < 32; ++i) {
      uint32_t word;
      memcpy(&word, &from.where[i / 4][i % 4], 4);
      if (word != 0xffffffff) fault("the sums of a product in flight are written");
    }
    memcpy(from.where, from.values, sizeof from.values);
    sums.erase(sums.begin() + (&from - sums.data()));
  }
};
extern std::vector<Products> products;  // by thread
inline Products& mine() { return products[threadIdx.x]; }
inline unsigned own_warp() { return threadIdx.x / 32; }

// Lets the lanes of a warp meet, and one of them do something for all.
template <class Do> void once_a_warp(Point before, Point after, const Do& action) {
  operands.right_is_there = false;
  wait(before);
  if (!operands.right_is_there) action();
  operands.right_is_there = true;
  wait(after);
}

inline void read_right(const char* from) {
  for (int tile = 0; tile < 8; ++tile)
    for (int column = 0; column < 8; ++column)
      for (int k = 0; k < 16; ++k) {
        half value;
        memcpy(&value, from + 256 * tile + 128 * (k / 8) + 16 * column + 2 * (k % 8), 2);
        operands.right[tile][column / 2][k][column % 2] = to_float(value);
      }
}

inline void finish(const Product& product) {
  if (memcmp(product.left, product.left_then, sizeof product.left_then))
    fault("the left side of a product in flight is written");
  show_left<2>(product.left_then);
  Sums& sums = mine().sums_at(product.sums);
  operands.right_is_there = false;
  wait(WGMMA_READ);
  if (!operands.right_is_there) {  // the first lane reads it for its warp, when all lanes have come
    read_right(product.right);
    operands.right_is_there = true;
  }
  for (int tile = 0; tile < 8; ++tile) multiply<2>(sums.values[tile], tile);
  mine().leave(sums);
  wait(WGMMA_DONE);
}
}  // namespace emulator

#define HAVE_WGMMA
typedef const char* product_t;
constexpr int PRODUCT_UNIT = 1;
inline product_t product_at(const void* b) { return (product_t)b; }
inline void begin_products() { emulator::mine().begun = true; }
inline void wgmma_n64(float (&d)[8][4], const uint32_t (&a)[4], product_t b) {
  using namespace emulator;
  Products& own = mine();
  if (!own.begun) fault("a product is not begun");
  ++own.sums_at(d).products;
  own.groups.back().push_back({d, a, {a[0], a[1], a[2], a[3]}, b});
  own.trace = own.trace * 31 + (b - (const char*)shared_memory()) + 1;
  mailbox(threadIdx.x).row = b;
  once_a_warp(WGMMA, WGMMA_BEGUN, [&] {
    for (unsigned lane = 0; lane < 32; ++lane)
      if (mailbox(own_warp() * 32 + lane).row != b) fault("the lanes of a warp multiply by different matrices");
    proxy.product_begins(own_warp(), b);
  });
}
inline void commit_products() {
  emulator::mine().begun = false;
  emulator::mine().groups.emplace_back();
}
template <int PENDING> void wait_products() {
  using namespace emulator;
  Products& own = mine();
  while (own.groups.size() > PENDING + 1) {
    const std::vector<Product> group = own.groups.front();
    own.groups.erase(own.groups.begin());
    for (const Product& product : group) finish(product);
    once_a_warp(WGMMA, WGMMA_BEGUN, [&] {
      for (const Product& product : group) proxy.product_ends(own_warp(), product.right);
      for (const auto& others : own.groups)
        for (const Product& other : others) proxy.mark(own_warp(), other.right, IN_FLIGHT);
    });
  }
}
inline void hold(float&) {}
inline void show_to_products() {
  using namespace emulator;
  once_a_warp(WGMMA, WGMMA_BEGUN, [] { proxy.fence(own_warp()); });
}
