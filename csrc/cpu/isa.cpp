#include "isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace sgl_fast {
namespace {

bool supported(Isa isa) {
#if defined(__x86_64__) && defined(__GNUC__)
    switch (isa) {
        case Isa::avx512:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && supported(Isa::avx2);
        case Isa::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        default:
            return true;
    }
#else
    return isa == Isa::plain;
#endif
}

}  // namespace

Isa isa() {
    const char* value = std::getenv("SGL_FAST_ISA");
    const std::string asked = value ? value : "";
    for (Isa candidate : {Isa::avx512, Isa::avx2, Isa::plain}) {
        if (asked.empty() ? supported(candidate) : asked == name_of(candidate)) {
            if (supported(candidate)) return candidate;
            throw std::runtime_error("SGL_FAST_ISA is " + asked + ", which this processor does not have");
        }
    }
    throw std::runtime_error("need SGL_FAST_ISA to be plain, avx2 or avx512; got " + asked);
}

const char* name_of(Isa isa) { return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "plain"; }

}  // namespace sgl_fast
