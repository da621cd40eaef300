// Tables of jobs in device memory. A kernel reads them by a pointer: its parameters stay below the 4 KB that every driver
// takes, however many jobs a launch has.
#pragma once

#include <type_traits>

#include "launch.h"

namespace sgl_fast {

// A copy of these bytes on the stream's device. Equal bytes have one copy, made once and kept until the process ends, since a
// captured graph reads it at every replay. A cell has about 25 tables of at most 15 KB; a pass over known cells copies nothing.
const void* device_copy(const Stream& stream, const void* bytes, size_t size);

template <class Table> const Table* on_device(const Stream& stream, const Table& table) {
    static_assert(std::is_trivially_copyable<Table>::value, "host and device agree on the bytes of a table");
    static_assert(std::has_unique_object_representations<Table>::value,
                  "padding would give equal tables different bytes");
    return static_cast<const Table*>(device_copy(stream, &table, sizeof(Table)));
}

}  // namespace sgl_fast
