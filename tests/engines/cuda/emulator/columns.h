// The kernels of columns.cu, for emulator.cpp.
#include "columns.cu"

#define KERNEL_LIST                                                                             \
  ENTRY(columns_half), ENTRY(columns_bfloat), ENTRY(columns_float), ENTRY(spread_half), ENTRY(spread_bfloat), \
      ENTRY(spread_float)
