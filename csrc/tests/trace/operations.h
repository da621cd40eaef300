// What PTX's arithmetic does, on the 32 lanes of a warp, and what machine code it takes.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>

namespace trace {

constexpr int LANES = 32;
using Lanes = std::array<uint64_t, LANES>;  // a register

// EITHER: ALU or FMA, whichever has less to do, so that no unit bounds such instructions, issue alone does.
enum Unit { NONE, ALU, FMA, EITHER, FP64, SFU, LSU, TENSOR, UNITS };

struct Operation {
    void (*run)(Lanes& to, const Lanes* const* from);
    Unit unit;
    int slots;  // instructions of machine code
    int chain;  // of those, one after the other
};

using Operations = std::map<std::string, Operation>;

template <class T> T get(uint64_t x) {
    if constexpr (std::is_same_v<T, bool>) return x & 1;
    T value;
    std::memcpy(&value, &x, sizeof(T));
    return value;
}

template <class T> uint64_t put(T value) {
    uint64_t x = 0;
    std::memcpy(&x, &value, sizeof(T));
    return x;
}

// A, B, C: types of the operands a, b, c; the result is R.
#define DO(R, A, B, C, expression)                                 \
    [](Lanes& to, const Lanes* const* from) {                      \
        for (int i = 0; i < LANES; i++) {                          \
            [[maybe_unused]] const auto a = get<A>((*from[0])[i]); \
            [[maybe_unused]] const auto b = get<B>((*from[1])[i]); \
            [[maybe_unused]] const auto c = get<C>((*from[2])[i]); \
            to[i] = put<R>(static_cast<R>(expression));            \
        }                                                          \
    }

// 32-bit integers and floats are one instruction, 64-bit integers two.
template <class T> constexpr int words() { return sizeof(T) == 8 && !std::is_same_v<T, double> ? 2 : 1; }
template <class T> constexpr Unit unit_of() {
    return std::is_same_v<T, float> ? FMA : std::is_same_v<T, double> ? FP64 : EITHER;
}

template <class T> void add_comparisons(Operations& all, const std::string& type) {
    const auto add = [&](const char* name, auto run) {
        all[std::string("setp.") + name + "." + type] = {run, ALU, words<T>(), words<T>()};
    };
    add("eq", DO(bool, T, T, T, a == b));
    add("ne", DO(bool, T, T, T, a != b));
    add("lt", DO(bool, T, T, T, a < b));
    add("le", DO(bool, T, T, T, a <= b));
    add("gt", DO(bool, T, T, T, a > b));
    add("ge", DO(bool, T, T, T, a >= b));
    add("equ", DO(bool, T, T, T, !(a < b || a > b)));
    add("neu", DO(bool, T, T, T, !(a == b)));
    add("ltu", DO(bool, T, T, T, !(a >= b)));
    add("leu", DO(bool, T, T, T, !(a > b)));
    add("gtu", DO(bool, T, T, T, !(a <= b)));
    add("geu", DO(bool, T, T, T, !(a < b)));
    add("num", DO(bool, T, T, T, a == a && b == b));
    add("nan", DO(bool, T, T, T, a != a || b != b));
}

template <class T> void add_arithmetic(Operations& all, const std::string& type) {
    const Unit unit = unit_of<T>();
    const int n = words<T>();
    all["add." + type] = {DO(T, T, T, T, a + b), unit, n, n};
    all["sub." + type] = {DO(T, T, T, T, a - b), unit, n, n};
    all["min." + type] = {DO(T, T, T, T, b < a || a != a ? b : a), ALU, 2 * n - 1, n};
    all["max." + type] = {DO(T, T, T, T, b > a || a != a ? b : a), ALU, 2 * n - 1, n};
    all["neg." + type] = {DO(T, T, T, T, -a), ALU, n, n};
    all["abs." + type] = {DO(T, T, T, T, a < 0 ? -a : a), ALU, n, n};
}

// Divisions are sequences: reciprocal, Newton, correction.
template <class T> void add_integers(Operations& all, const std::string& type) {
    const int n = words<T>(), product = n == 2 ? 4 : 1, division = n == 2 ? 70 : 18;
    all["mul.lo." + type] = {DO(T, T, T, T, a * b), FMA, product, n};
    all["mad.lo." + type] = {DO(T, T, T, T, a * b + c), FMA, product, n};
    all["div." + type] = {DO(T, T, T, T, b ? a / b : 0), ALU, division, division};
    all["rem." + type] = {DO(T, T, T, T, b ? a % b : 0), ALU, division, division};
    all["shr." + type] = {DO(T, T, uint32_t, T, b >= 8 * sizeof(T) ? (a < 0 ? T(-1) : T(0)) : T(a >> b)), ALU, n, n};
}

template <class T> void add_floats(Operations& all, const std::string& type) {
    const Unit unit = unit_of<T>();
    const int division = sizeof(T) == 8 ? 16 : 10;
    for (const char* round : {"", "rn.", "rm."}) {
        all["mul." + (round + type)] = {DO(T, T, T, T, a * b), unit, 1, 1};
        all["fma." + (round + type)] = {DO(T, T, T, T, std::fma(a, b, c)), unit, 1, 1};
        all["div." + (round + type)] = {DO(T, T, T, T, a / b), unit, division, division};
        all["sqrt." + (round + type)] = {DO(T, T, T, T, std::sqrt(a)), unit, division, division};
        all["rcp." + (round + type)] = {DO(T, T, T, T, 1 / a), unit, division / 2, division / 2};
        all["add." + (round + type)] = {DO(T, T, T, T, a + b), unit, 1, 1};
        all["sub." + (round + type)] = {DO(T, T, T, T, a - b), unit, 1, 1};
    }
}

template <class T> void add_bits(Operations& all, const std::string& type) {
    const int n = words<T>();
    all["and." + type] = {DO(T, T, T, T, a & b), ALU, n, 1};
    all["or." + type] = {DO(T, T, T, T, a | b), ALU, n, 1};
    all["xor." + type] = {DO(T, T, T, T, a ^ b), ALU, n, 1};
    all["not." + type] = {DO(T, T, T, T, (std::is_same_v<T, bool> ? !a : ~a)), ALU, n, 1};
    all["shl." + type] = {DO(T, T, uint32_t, T, b >= 8 * sizeof(T) ? 0 : a << b), EITHER, n, 1};
    all["selp." + type] = {DO(T, T, T, bool, c ? a : b), ALU, n, 1};
}

// From one type to another. Halves of a register, and signs where there is none, cost nothing.
template <class R, class A> void add_conversion(Operations& all, const std::string& to, const std::string& from) {
    const bool floats = std::is_floating_point_v<R> || std::is_floating_point_v<A>;
    const bool extends = std::is_signed_v<A> && sizeof(R) > sizeof(A);
    const Operation one{DO(R, A, A, A, a), floats ? SFU : ALU, floats || extends, floats || extends};
    for (const char* round : {"", "rn.", "rzi.", "rni."}) all["cvt." + (round + to) + "." + from] = one;
}

template <class A> void add_conversions(Operations& all, const std::string& from) {
    add_conversion<int8_t, A>(all, "s8", from);
    add_conversion<uint8_t, A>(all, "u8", from);
    add_conversion<int16_t, A>(all, "s16", from);
    add_conversion<uint16_t, A>(all, "u16", from);
    add_conversion<int32_t, A>(all, "s32", from);
    add_conversion<uint32_t, A>(all, "u32", from);
    add_conversion<int64_t, A>(all, "s64", from);
    add_conversion<uint64_t, A>(all, "u64", from);
    add_conversion<float, A>(all, "f32", from);
    add_conversion<double, A>(all, "f64", from);
    add_conversion<_Float16, A>(all, "f16", from);
}

template <class R, class A> void add_wide(Operations& all, const std::string& type) {
    all["mul.wide." + type] = {DO(R, A, A, R, R(a) * R(b)), FMA, 1, 1};
    all["mad.wide." + type] = {DO(R, A, A, R, R(a) * R(b) + c), FMA, 1, 1};
    all["mul.hi." + type] = {DO(A, A, A, A, (R(a) * R(b)) >> 8 * sizeof(A)), FMA, 2, 2};
}

template <class T> void add_integer(Operations& all, const std::string& bits) {
    using Signed = std::make_signed_t<T>;
    for (const auto& type : {"u" + bits, "b" + bits}) {
        add_comparisons<T>(all, type);
        add_bits<T>(all, type);
        add_integers<T>(all, type);
    }
    add_arithmetic<T>(all, "u" + bits);
    add_comparisons<Signed>(all, "s" + bits);
    add_arithmetic<Signed>(all, "s" + bits);
    add_integers<Signed>(all, "s" + bits);
    add_bits<Signed>(all, "s" + bits);
    add_conversions<T>(all, "u" + bits);
    add_conversions<Signed>(all, "s" + bits);
}

template <class T> void add_floating(Operations& all, const std::string& type) {
    add_comparisons<T>(all, type);
    add_arithmetic<T>(all, type);
    add_floats<T>(all, type);
    add_conversions<T>(all, type);
    all["selp." + type] = {DO(T, T, T, bool, c ? a : b), ALU, 1, 1};
}

// The low bits of a in b, `from[3]` many from bit `from[2]` on.
template <class T> void bit_field_insert(Lanes& to, const Lanes* const* from) {
    for (int i = 0; i < LANES; i++) {
        const uint64_t at = (*from[2])[i] & 255, length = (*from[3])[i] & 255;
        const T mask = (length >= 8 * sizeof(T) ? T(-1) : T((T(1) << length) - 1)) << at;
        to[i] = put<T>((get<T>((*from[1])[i]) & ~mask) | (T(get<T>((*from[0])[i]) << at) & mask));
    }
}

// Four bytes of the eight in a and b, chosen by four bits each.
inline uint32_t permuted(uint32_t a, uint32_t b, uint32_t chosen) {
    const uint64_t both = (uint64_t(b) << 32) | a;
    uint32_t found = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t place = chosen >> 4 * i & 15, byte = both >> 8 * (place & 7) & 255;
        found |= (place & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
    }
    return found;
}

inline Operations operations() {
    Operations all;
    add_integer<uint16_t>(all, "16");
    add_integer<uint32_t>(all, "32");
    add_integer<uint64_t>(all, "64");
    add_conversions<int8_t>(all, "s8");
    add_conversions<uint8_t>(all, "u8");
    add_conversions<_Float16>(all, "f16");
    add_floating<float>(all, "f32");
    add_floating<double>(all, "f64");
    add_bits<bool>(all, "pred");
    add_wide<int64_t, int32_t>(all, "s32");
    add_wide<uint64_t, uint32_t>(all, "u32");
    add_wide<uint32_t, uint16_t>(all, "u16");
    add_wide<int32_t, int16_t>(all, "s16");
    all["cvt.sat.f32.f32"] = {DO(float, float, float, float, a > 0 ? (a < 1 ? a : 1) : 0), FMA, 1, 1};
    all["ex2.approx.ftz.f32"] = {DO(float, float, float, float, std::exp2(a)), SFU, 2, 2};
    all["lg2.approx.ftz.f32"] = {DO(float, float, float, float, std::log2(a)), SFU, 2, 2};
    all["rcp.approx.ftz.f32"] = {DO(float, float, float, float, 1 / a), SFU, 1, 1};
    all["cvta.to.global.u64"] = all["cvta.to.shared.u64"] = {DO(uint64_t, uint64_t, uint64_t, uint64_t, a), NONE, 0, 0};
    all["prmt.b32"] = {DO(uint32_t, uint32_t, uint32_t, uint32_t, permuted(a, b, c)), ALU, 1, 1};
    all["bfi.b32"] = {bit_field_insert<uint32_t>, ALU, 2, 2};
    all["bfi.b64"] = {bit_field_insert<uint64_t>, ALU, 2, 2};
    all["mov"] = {DO(uint64_t, uint64_t, uint64_t, uint64_t, a), NONE, 0, 0};  // registers are renamed
    return all;
}

#undef DO

}  // namespace trace
