#pragma once

namespace sgl_fast {

enum class Isa { plain, avx2, avx512 };

// The instruction set to run: the best of this processor, or the one that SGL_FAST_ISA names (plain, avx2, avx512).
// avx2 stands for AVX2 and FMA, avx512 for its F, BW, DQ and VL parts. The variable is read at each call.
// std::runtime_error where the variable names no instruction set, or one that this processor lacks.
Isa isa();

const char* name_of(Isa isa);

}  // namespace sgl_fast
