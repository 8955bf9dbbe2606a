// The kernels of columns.cu, for emulator.cpp.
#include "columns.cu"

#define ENTRIES_OF(type) ENTRY(columns_##type), ENTRY(spread_##type), ENTRY(scatter_##type), ENTRY(turn_##type)
#define KERNEL_LIST ENTRIES_OF(half), ENTRIES_OF(bfloat), ENTRIES_OF(float)
