// The kernels of a source for the emulator. Compiled with -DKERNEL_SM=75 or 80, ..., -DEMULATED='"dcrb_from_maps.cu"',
// -DENTRIES= the kernels as ENTRY(name), ..., and the folder of the real source in -I.
#include "kernels.h"

#include EMULATED

namespace emulator {
template <class... A, size_t... I>
void apply(void (*function)(A...), void** values, std::index_sequence<I...>) {
  function(*static_cast<std::remove_const_t<A>*>(values[I])...);
}
template <class... A> constexpr int size_of(void (*)(A...), int parameter) {
  constexpr int SIZES[] = {(int)sizeof(A)..., 0};
  return parameter < (int)sizeof...(A) ? SIZES[parameter] : 0;
}
template <class... A> constexpr auto indices(void (*)(A...)) { return std::index_sequence_for<A...>(); }
template <auto FUNCTION> void call(void** values) { apply(FUNCTION, values, indices(FUNCTION)); }
template <auto FUNCTION> int parameter_size(int parameter) { return size_of(FUNCTION, parameter); }

#define ENTRY(name) {#name, call<name>, parameter_size<name>}
const Entry KERNELS[] = {ENTRIES};
const int KERNEL_COUNT = sizeof KERNELS / sizeof *KERNELS;
const bool TRACKED = KERNEL_SM == 90;  // the only one that multiplies by the async proxy
}  // namespace emulator
