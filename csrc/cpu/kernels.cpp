#include "kernels.h"

#include "isa.h"

namespace sgl_fast {

namespace plain {
extern const Kernels table;
}
#if defined(__x86_64__) && defined(__GNUC__)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#endif

const Kernels& kernels() {
    switch (isa()) {
#if defined(__x86_64__) && defined(__GNUC__)
        case Isa::avx512:
            return avx512::table;
        case Isa::avx2:
            return avx2::table;
#endif
        default:
            return plain::table;
    }
}

}  // namespace sgl_fast
