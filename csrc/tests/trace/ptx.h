// Kernels in PTX as NVRTC writes it, read into instructions on numbered registers.
#pragma once

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "operations.h"

namespace trace {

enum Kind { COMPUTE, MOVE, LOAD, STORE, BRANCH, LEAVE, BARRIER, WARP_BARRIER, SHUFFLE, COUNT, FENCE, MATRIX, MULTIPLY };
enum Space { PARAMETER, SHARED, GLOBAL };

// Registers, parameters and constants alike have numbers: constants are registers that are set before the start.
struct Instruction {
    Kind kind = COMPUTE;
    Operation operation{};
    int guard = -1;  // a predicate: lanes without it do nothing
    bool unless = false;
    std::vector<int> to, from;
    Space space = GLOBAL;
    int64_t offset = 0;       // of memory; from[0]: the address
    int bytes = 4;            // of each element
    int target = -1;          // of a branch: a block
    int arrival = 0;          // compares what a counter held: 1 equal, -1 unequal
    bool by_columns = false;  // a matrix of tensor cores
    int low = -1;  // machine code of the lower 32 of 64 bits alone; -1: they need more than those of operands
};

struct Block {
    int first, end;  // instructions
};

struct Kernel {
    std::vector<int> parameter_at, parameter_bytes;
    int shared_bytes = 0;  // static, then comes the dynamic part
    std::vector<Instruction> instructions;
    std::vector<Block> blocks;
    std::map<std::string, int> registers;
    std::vector<std::pair<int, uint64_t>> constants;
};

inline int bytes_of(const std::string& type) {
    if (type == "pred") return 1;
    return std::stoi(type.substr(1)) / 8;
}

inline std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, at);) parts.push_back(part);
    return parts;
}

inline std::string without_blanks(std::string text) {
    text.erase(std::remove_if(text.begin(), text.end(), [](char c) { return c == ' ' || c == '\t'; }), text.end());
    return text;
}

// Instructions of machine code that the lower half of a result of 64 bits takes; -1: it needs upper halves, too.
inline int low_half(const std::string& name) {
    for (const char* extends : {"cvt.s64.s32", "cvt.u64.u32", "mov.u64", "mov.b64"})
        if (name == extends) return 0;
    for (const char* computes :
         {"add.s64", "sub.s64", "mul.lo.s64", "mad.lo.s64", "shl.b64", "mul.wide.s32", "mul.wide.u32"})
        if (name == computes) return 1;
    return -1;
}

class Reader {
  public:
    explicit Reader(const Operations& all) : all(all) {}

    std::map<std::string, Kernel> read(const std::string& text) {
        for (std::string line : split(text, '\n')) {
            line = line.substr(0, line.find("//"));
            const size_t start = line.find_first_not_of(" \t\r"), end = line.find_last_not_of(" \t\r");
            if (start == std::string::npos || line[start] == '\0') continue;
            line = line.substr(start, end - start + 1);
            if (line[0] == '.')
                directive(line);
            else if (!kernel)
                continue;  // tables of lines
            else if (line[0] == '}')
                finish();
            else if (line.back() == ':')
                labels[line.substr(0, line.size() - 1)] = cut();
            else if (line.back() == ';')
                instruction(line.substr(0, line.size() - 1));
        }
        return std::move(kernels);
    }

  private:
    const Operations& all;
    std::map<std::string, Kernel> kernels;
    Kernel* kernel = nullptr;
    int common = 0;  // bytes of shared memory that all kernels have
    std::map<std::string, int64_t> symbols;
    std::map<std::string, int> labels;
    std::vector<std::pair<int, std::string>> jumps;  // instructions and where they go

    // The number of the block that starts here.
    int cut() {
        const int here = static_cast<int>(kernel->instructions.size());
        if (kernel->blocks.empty() || kernel->blocks.back().first != here) kernel->blocks.push_back({here, here});
        return static_cast<int>(kernel->blocks.size()) - 1;
    }

    void finish() {
        for (const auto& [at, label] : jumps) kernel->instructions[at].target = labels.at(label);
        for (size_t i = 0; i < kernel->blocks.size(); i++)
            kernel->blocks[i].end = i + 1 < kernel->blocks.size() ? kernel->blocks[i + 1].first
                                                                  : static_cast<int>(kernel->instructions.size());
        mark_arrivals();
        narrow_addresses();
        kernel = nullptr;
        labels.clear();
        jumps.clear();
    }

    // Whoever compares what atomicAdd returned asks whether it came last.
    void mark_arrivals() {
        std::vector<int> held;
        for (Instruction& one : kernel->instructions) {
            if (one.kind == COUNT) held.push_back(one.to[0]);
            if (one.arrival && std::find(held.begin(), held.end(), one.from[0]) == held.end() &&
                std::find(held.begin(), held.end(), one.from[1]) == held.end())
                one.arrival = 0;
        }
    }

    // In machine code addresses of shared memory have 32 bits, and so has what is computed for them alone.
    void narrow_addresses() {
        std::vector<bool> wide(kernel->registers.size());
        const auto narrow = [&](const Instruction& one) { return one.low >= 0 && !wide[one.to[0]]; };
        for (bool changed = true; changed;) {
            changed = false;
            for (const Instruction& one : kernel->instructions) {
                if (narrow(one)) continue;
                const bool shared =
                    (one.kind == LOAD || one.kind == STORE || one.kind == MATRIX) && one.space == SHARED;
                for (size_t i = shared; i < one.from.size(); i++) {
                    changed = changed || !wide[one.from[i]];
                    wide[one.from[i]] = true;
                }
            }
        }
        for (Instruction& one : kernel->instructions)
            if (narrow(one)) one.operation.slots = one.operation.chain = std::min(one.operation.slots, one.low);
    }

    void directive(const std::string& line) {
        const auto words = split(line, ' ');
        if (line.rfind(".visible .entry", 0) == 0) {
            const std::string name = words[2].substr(0, words[2].find('('));
            kernel = &kernels[name];
            kernel->shared_bytes = common;
            cut();
        } else if (line.rfind(".param", 0) == 0 && kernel) {
            parameter(words);
        } else if (line.find(".shared") != std::string::npos) {
            memory(line);
        }
    }

    // .param .align 8 .b8 name[248], or .param .u64 name
    void parameter(const std::vector<std::string>& words) {
        const std::string last = words.back().substr(0, words.back().find(','));
        const size_t bracket = last.find('[');
        const bool array = bracket != std::string::npos;
        const int size = array ? std::stoi(last.substr(bracket + 1)) : bytes_of(words[1].substr(1));
        const int align = array ? std::stoi(words[2]) : size;
        const int before =
            kernel->parameter_at.empty() ? 0 : kernel->parameter_at.back() + kernel->parameter_bytes.back();
        kernel->parameter_at.push_back((before + align - 1) / align * align);
        kernel->parameter_bytes.push_back(size);
        symbols[last.substr(0, bracket)] = kernel->parameter_at.back();
    }

    // .shared .align 4 .b8 name[32]; or .shared .align 4 .u32 name; or .extern .shared .align 128 .b8 name[];
    void memory(const std::string& line) {
        const size_t bracket = std::min(line.find('['), line.size() - 1), start = line.find_last_of(" \t") + 1;
        const std::string name = line.substr(start, bracket - start);
        if (line.rfind(".extern", 0) == 0) {
            symbols[name] = DYNAMIC;
            return;
        }
        int& used = kernel ? kernel->shared_bytes : common;
        used = (used + 15) / 16 * 16;
        symbols[name] = used;
        used += line[bracket] == '[' ? std::stoi(line.substr(bracket + 1)) : 8;
    }

    int number_of(const std::string& name) {
        return kernel->registers.emplace(name, static_cast<int>(kernel->registers.size())).first->second;
    }

    int constant(uint64_t value) {
        const std::string name = "=" + std::to_string(value);
        const bool fresh = !kernel->registers.count(name);
        const int number = number_of(name);
        if (fresh) kernel->constants.push_back({number, value});
        return number;
    }

    int operand(const std::string& text) {
        if (text[0] == '%') return number_of(text);
        if (text.rfind("0f", 0) == 0) return constant(std::stoull(text.substr(2), nullptr, 16));
        if (text.rfind("0d", 0) == 0) return constant(std::stoull(text.substr(2), nullptr, 16));
        if (text[0] == '-') return constant(static_cast<uint64_t>(std::stoll(text)));
        if (std::isdigit(text[0])) return constant(std::stoull(text, nullptr, 0));
        const auto symbol = symbols.find(text);
        if (symbol == symbols.end()) throw std::runtime_error("need a known operand; got " + text);
        return constant(static_cast<uint64_t>(symbol->second));
    }

    // "a, {b, c}, [d+4]" to its operands; braces and bars come apart.
    std::vector<std::vector<std::string>> operands(const std::string& text) {
        std::vector<std::vector<std::string>> found;
        bool inside = false;
        for (std::string part : split(without_blanks(text), ',')) {
            const bool opens = part[0] == '{', closes = part.back() == '}';
            if (opens) part = part.substr(1);
            if (closes) part.pop_back();
            if (inside)
                found.back().push_back(part);
            else
                found.push_back({part});
            inside = (inside || opens) && !closes;
        }
        return found;
    }

    void address(Instruction& one, const std::string& text) {
        const std::string inner = text.substr(1, text.size() - 2);
        const size_t plus = inner.find('+');
        if (plus != std::string::npos) one.offset = std::stoll(inner.substr(plus + 1));
        one.from.insert(one.from.begin(), operand(inner.substr(0, plus)));
    }

    void instruction(std::string text);
    void fill(Instruction& one, const std::string& name, const std::vector<std::string>& parts,
              std::vector<std::vector<std::string>> words);

  public:
    static constexpr int64_t DYNAMIC = 1 << 20;  // where dynamic shared memory starts, as an address
};

inline void Reader::instruction(std::string text) {
    Instruction one;
    if (text[0] == '@') {
        one.unless = text[1] == '!';
        const size_t end = text.find_first_of(" \t");
        one.guard = number_of(text.substr(1 + one.unless, end - 1 - one.unless));
        text = text.substr(text.find_first_not_of(" \t", end));
    }
    const size_t end = text.find_first_of(" \t");
    const std::string name = text.substr(0, end);
    const auto words = end == std::string::npos ? std::vector<std::vector<std::string>>{} : operands(text.substr(end));
    fill(one, name, split(name, '.'), words);
    kernel->instructions.push_back(one);
    if (one.kind == BRANCH || one.kind == LEAVE || one.kind == BARRIER) cut();
}

inline void Reader::fill(Instruction& one, const std::string& name, const std::vector<std::string>& parts,
                         std::vector<std::vector<std::string>> words) {
    const std::string &first = parts[0], &type = parts.back();
    const auto numbers = [&](const std::vector<std::string>& names, std::vector<int>& into) {
        for (const std::string& each : names) into.push_back(operand(each.substr(0, each.find('|'))));
    };
    const auto has = [&](const char* part) { return std::find(parts.begin(), parts.end(), part) != parts.end(); };
    one.space = has("param") ? PARAMETER : has("shared") ? SHARED : GLOBAL;
    if (first == "bra") {
        one.kind = BRANCH;
        jumps.push_back({static_cast<int>(kernel->instructions.size()), words[0][0]});
    } else if (first == "ret" || first == "exit") {
        one.kind = LEAVE;
    } else if (first == "bar") {
        one.kind = has("warp") ? WARP_BARRIER : BARRIER;
    } else if (first == "membar" || first == "fence") {
        one.kind = FENCE;
    } else if (first == "ld" || first == "st") {
        one.kind = first == "ld" ? LOAD : STORE;
        one.bytes = bytes_of(type);
        if (one.kind == LOAD)
            numbers(words[0], one.to);
        else
            numbers(words[1], one.from);
        address(one, words[one.kind == LOAD ? 1 : 0][0]);
    } else if (first == "atom") {
        one.kind = COUNT;
        numbers(words[0], one.to);
        numbers(words[2], one.from);
        address(one, words[1][0]);
    } else if (first == "shfl") {
        one.kind = SHUFFLE;
        if (!has("bfly")) throw std::runtime_error("need shfl.bfly; got " + name);
        numbers(words[0], one.to);
        for (int i : {1, 2}) numbers(words[i], one.from);
    } else if (first == "wmma") {
        one.kind = has("mma") ? MULTIPLY : MATRIX;
        one.by_columns = parts[1] == "load" && has("col");
        const bool stores = parts[1] == "store";
        one.bytes = stores ? 4 : 2;
        for (size_t i = stores ? 1 : 0; i < words.size(); i++)
            if (words[i][0][0] != '[') numbers(words[i], i == 0 ? one.to : one.from);
        if (one.kind == MATRIX) address(one, words[stores ? 0 : 1][0]);
    } else {
        const bool moves = first == "mov" && (words[0].size() > 1 || words[1].size() > 1);
        const auto found = all.find(first == "mov" ? "mov" : name);
        if (found == all.end()) throw std::runtime_error("need a known instruction; got " + name);
        one.kind = moves ? MOVE : COMPUTE;
        one.operation = found->second;
        one.bytes = bytes_of(type);
        one.low = low_half(name);
        numbers(words[0], one.to);
        for (size_t i = 1; i < words.size(); i++) numbers(words[i], one.from);
        if (first == "setp" && (parts[1] == "eq" || parts[1] == "ne") && type != "f32")
            one.arrival = parts[1] == "eq" ? 1 : -1;
    }
}

}  // namespace trace
