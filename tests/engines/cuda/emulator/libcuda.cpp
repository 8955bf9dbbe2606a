// As much of libcuda.so.1 as launching a block needs, in front of the emulated kernels; device memory is host memory.
// It shows what cuda.bindings really hands to the driver.
#include <cstddef>
#include <cstdint>
#include <cstring>

extern "C" int kernel_index(const char* name);
extern "C" int emulated_launch(int index, unsigned grid, unsigned block, size_t shared, int order, void** values);

namespace {
enum { SUCCESS = 0, INVALID_VALUE = 1, NO_BINARY_FOR_GPU = 209, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };
constexpr unsigned FREE_SHARED = 48 << 10, OPT_IN_SHARED = 99 << 10;
struct Kernel {
  int index;
  unsigned shared;
};
Kernel kernels[16];
int loaded = 0;

int init(unsigned) { return SUCCESS; }
int version(int* number) { return *number = 13000, SUCCESS; }
int current_device(int* device) { return *device = 0, SUCCESS; }
int device_attribute(int* value, int attribute, int) {
  switch (attribute) {
    case 16: *value = 2; return SUCCESS;               // MULTIPROCESSOR_COUNT
    case 75: *value = KERNEL_SM / 10; return SUCCESS;    // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = KERNEL_SM % 10; return SUCCESS;    // COMPUTE_CAPABILITY_MINOR
  }
  return INVALID_VALUE;
}
int load_library(void** library, const void* image, void*, void*, unsigned, void*, void*, unsigned) {
  if (memcmp(image, "\x7f" "ELF", 4)) return NO_BINARY_FOR_GPU;
  return *library = &loaded, SUCCESS;
}
int get_kernel(void** kernel, void*, const char* name) {
  const int index = kernel_index(name);
  if (index < 0) return NOT_FOUND;
  kernels[loaded] = {index, FREE_SHARED};
  return *kernel = &kernels[loaded++], SUCCESS;
}
int set_attribute(int attribute, int value, void* kernel, int) {
  if (attribute != 8 || value > (int)OPT_IN_SHARED) return INVALID_VALUE;  // MAX_DYNAMIC_SHARED_SIZE_BYTES
  return static_cast<Kernel*>(kernel)->shared = value, SUCCESS;
}
int occupancy(int* blocks, void*, int, size_t) { return *blocks = 1, SUCCESS; }
int launch(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
           void* stream, void** values, void** extra) {
  const Kernel* kernel = static_cast<Kernel*>(function);
  if (gy * gz * by * bz != 1 || shared > kernel->shared || stream != (void*)0x77 || extra) return INVALID_VALUE;
  return emulated_launch(kernel->index, gx, bx, shared, 0, values) ? ILLEGAL_ADDRESS : SUCCESS;
}
int error_string(int code, const char** text) {
  return *text = code == NO_BINARY_FOR_GPU ? "no kernel image is available" : "an error", SUCCESS;
}

const struct {
  const char* name;
  void* function;
} FUNCTIONS[] = {{"cuInit", (void*)init},
                 {"cuDriverGetVersion", (void*)version},
                 {"cuCtxGetDevice", (void*)current_device},
                 {"cuDeviceGetAttribute", (void*)device_attribute},
                 {"cuLibraryLoadData", (void*)load_library},
                 {"cuLibraryGetKernel", (void*)get_kernel},
                 {"cuKernelSetAttribute", (void*)set_attribute},
                 {"cuOccupancyMaxActiveBlocksPerMultiprocessor", (void*)occupancy},
                 {"cuLaunchKernel", (void*)launch},
                 {"cuGetErrorString", (void*)error_string}};
}  // namespace

extern "C" int cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
  *function = nullptr;
  for (const auto& each : FUNCTIONS)
    if (!strcmp(each.name, name)) *function = each.function;
  if (status) *status = *function ? 0 : 1;
  return *function ? SUCCESS : NOT_FOUND;
}
extern "C" int cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
