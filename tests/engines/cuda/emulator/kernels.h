// What kernels.cpp tells the emulator of the kernels that it holds.
#pragma once
#include "cuda_fp16.h"

namespace emulator {
struct Entry {
  const char* name;
  void (*call)(void** values);  // takes arguments as cuLaunchKernel does: pointers to the values
  int (*parameter_size)(int parameter);  // bytes; 0 behind the last one
};
extern const Entry KERNELS[];
extern const int KERNEL_COUNT;
extern const bool TRACKED;  // whether they multiply by the async proxy
}  // namespace emulator
