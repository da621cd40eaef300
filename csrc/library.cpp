#include "library.h"

#include <deque>
#include <map>
#include <mutex>
#include <stdexcept>

#include "cpu/isa.h"
#include "cuda/driver.h"
#include "cuda/launch.h"

namespace sgl_fast {
namespace {

template <class Row> void append(std::string& bytes, const Row* first, size_t count) {
    bytes += std::to_string(count) + ' ';
    bytes.append(reinterpret_cast<const char*>(first), count * sizeof(Row));
}

std::string bytes_of(const Tables& t) {
    std::string bytes;
    append(bytes, &t.head, 1);
    append(bytes, t.convs.data(), t.convs.size());
    append(bytes, t.pools.data(), t.pools.size());
    append(bytes, t.uses.data(), t.uses.size());
    append(bytes, t.edges.data(), t.edges.size());
    append(bytes, t.out_edges.data(), t.out_edges.size());
    append(bytes, t.terms.data(), t.terms.size());
    append(bytes, t.states.data(), t.states.size());
    return bytes;
}

struct Programs {
    std::mutex mutex;
    std::deque<Program> all;  // whose elements stay where they are
    std::map<std::string, int64_t> numbers;
};

// Never destroyed: threads may be at work at the end of the process.
Programs& programs() {
    static Programs& all = *new Programs;
    return all;
}

}  // namespace

const char* instruction_set() { return name_of(isa()); }

int64_t number_of(const Tables& tables) {
    Programs& known = programs();
    const std::string bytes = bytes_of(tables);
    const std::lock_guard<std::mutex> lock(known.mutex);
    const auto found = known.numbers.find(bytes);
    if (found != known.numbers.end()) return found->second;
    known.all.emplace_back(tables);
    return known.numbers[bytes] = static_cast<int64_t>(known.all.size()) - 1;
}

const Program& program_numbered(int64_t number) {
    Programs& known = programs();
    const std::lock_guard<std::mutex> lock(known.mutex);
    if (number < 0 || number >= static_cast<int64_t>(known.all.size()))
        throw std::runtime_error("need a program that was made; got number " + std::to_string(number));
    return known.all[number];
}

std::string why_no_driver() {
    try {
        driver();
        return "";
    } catch (const std::runtime_error& error) {
        return error.what();
    }
}

void load_cuda(int device, const std::vector<std::string>& modules) { load_kernels(device, modules); }
bool cuda_loaded(int device) { return kernels_loaded(device); }

}  // namespace sgl_fast
