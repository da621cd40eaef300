// What the Python module takes from the library of operators: all that is not a tensor. Free of torch and of Python.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "program.h"

#define SGL_FAST_EXPORT __attribute__((visibility("default")))

namespace sgl_fast {

// That of the CPU kernels: plain, avx2 or avx512. std::runtime_error as isa().
SGL_FAST_EXPORT const char* instruction_set();

// The number by which operators know a program, the same for equal ones. It is kept until the process ends: a search has
// a few, of some 20 KB. std::invalid_argument as Program.
SGL_FAST_EXPORT int64_t number_of(const Tables& tables);

// std::runtime_error where there is no such program.
const Program& program_numbered(int64_t number);

// Why there is no CUDA driver here; empty if there is one.
SGL_FAST_EXPORT std::string why_no_driver();

// As load_kernels and kernels_loaded.
SGL_FAST_EXPORT void load_cuda(int device, const std::vector<std::string>& modules);
SGL_FAST_EXPORT bool cuda_loaded(int device);

}  // namespace sgl_fast
