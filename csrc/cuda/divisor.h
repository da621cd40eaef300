// Divisions of n >= 0 by numbers that are known before a kernel starts: a product, or a shift, in place of some twenty
// instructions. The host makes these numbers: to make one takes more than a division. Host and device compile this file alike.
#pragma once

namespace sgl_fast {

inline unsigned upper_half_of_product(unsigned a, unsigned b) {
#ifdef __CUDACC_RTC__
    return __umulhi(a, b);
#else
    return (unsigned)((unsigned long long)a * b >> 32);
#endif
}

// n / d and n % d for n from 0 to 2^31 - 1: the upper half of 2 n times 2^(31 + shift) / d, rounded up, is exact if
// 2^shift >= d (Granlund and Montgomery, Division by invariant integers using multiplication, 1994).
struct Divisor {
    int of, shift;
    unsigned inverse;

    Divisor() : Divisor(1) {}
    // 0: where nothing is to be divided.
    explicit Divisor(int of) : of(of), shift(0), inverse(0) {
        while (1ll << shift < of) shift++;
        if (of > 0) inverse = (unsigned)(((1ull << (31 + shift)) + of - 1) / of);
    }
    operator int() const { return of; }
};

inline int operator/(int n, const Divisor& d) { return (int)(upper_half_of_product(2u * n, d.inverse) >> d.shift); }
inline int operator%(int n, const Divisor& d) { return n - n / d * d.of; }

struct PowerOfTwo {
    int of, log;

    PowerOfTwo() : PowerOfTwo(1) {}
    explicit PowerOfTwo(int of) : of(of), log(0) {
        while (1ll << log < of) log++;
    }
    PowerOfTwo(int of, int log) : of(of), log(log) {}
    operator int() const { return of; }
};

inline int operator/(int n, const PowerOfTwo& p) { return n >> p.log; }
inline int operator%(int n, const PowerOfTwo& p) { return n & (p.of - 1); }

}  // namespace sgl_fast
