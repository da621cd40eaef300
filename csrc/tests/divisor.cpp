// divisor.h against the machine's own division: every small number by every small one, and around multiples of large ones.

#include "../cuda/divisor.h"

#include <climits>

#include "check.h"

using namespace sgl_fast;

template <class Number> static void check(int n, int d) {
    const Number number(d);
    if (n / number == n / d && n % number == n % d && number == d) return;
    std::printf("%d / %d: %d, %d are left\n", n, d, n / number, n % number);
    std::exit(1);
}

static int at_most(int most) { return std::uniform_int_distribution<int>(0, most)(engine); }

int main() {
    for (int d = 1; d < 2000; d++)
        for (int n = 0; n < 2000; n++) check<Divisor>(n, d);
    for (int log = 0; log < 31; log++)
        for (int i = 0; i < 10000; i++) {
            const int d = (1 << log) + at_most((1 << log) - 1), n = at_most(INT_MAX), multiple = n / d * d;
            for (int near : {n, multiple, multiple ? multiple - 1 : 0, INT_MAX}) check<Divisor>(near, d);
            check<PowerOfTwo>(n, 1 << log);
        }
    std::printf("passed: plain\n");
}
