// SPDX-License-Identifier: Apache-2.0
// The checked mode of the SIMT dialect: Index, Shared and Global of the same members as the plain
// ones in kiln/shared.h and kiln/global.h, which ask the host about every access.
#pragma once

#include "kiln/dialect.h"

namespace kiln {
namespace dialect {

template <class T>
inline constexpr KilnSimtType type_of = kKilnSimtBytes;
template <>
inline constexpr KilnSimtType type_of<i8> = kKilnSimtSigned;
template <>
inline constexpr KilnSimtType type_of<i16> = kKilnSimtSigned;
template <>
inline constexpr KilnSimtType type_of<i32> = kKilnSimtSigned;
template <>
inline constexpr KilnSimtType type_of<i64> = kKilnSimtSigned;
template <>
inline constexpr KilnSimtType type_of<u8> = kKilnSimtUnsigned;
template <>
inline constexpr KilnSimtType type_of<u16> = kKilnSimtUnsigned;
template <>
inline constexpr KilnSimtType type_of<u32> = kKilnSimtUnsigned;
template <>
inline constexpr KilnSimtType type_of<u64> = kKilnSimtUnsigned;
template <>
inline constexpr KilnSimtType type_of<float> = kKilnSimtFloat;
template <>
inline constexpr KilnSimtType type_of<double> = kKilnSimtFloat;
template <>
inline constexpr KilnSimtType type_of<bf16> = kKilnSimtBf16;
template <>
inline constexpr KilnSimtType type_of<f16> = kKilnSimtF16;

// An element that an atomic or an asynchronous copy is about to reach.
template <class T>
struct SharedPlace {
  T* address;
  KilnSimtAccess access;

  KILN_DEVICE bool may(KilnSimtAccessKind kind, u32 bytes = sizeof(T),
                       const void* value = nullptr) const {
    KilnSimtAccess asked = access;
    asked.kind = kind;
    asked.bytes = bytes;
    asked.value = value;
    return host().shared_access(self(), &asked) != 0;
  }
};
template <class T>
struct GlobalPlace {
  T* address;
  const KilnSimtRange* range;
  KilnSimtAccess access;

  KILN_DEVICE bool may(KilnSimtAccessKind kind, u32 bytes = sizeof(T),
                       const void* value = nullptr) const {
    const u64 first = reinterpret_cast<u64>(address);
    if (range != nullptr && first >= range->begin && first + bytes <= range->end &&
        first % bytes == 0) {
      return true;
    }
    KilnSimtAccess asked = access;
    asked.kind = kind;
    asked.bytes = bytes;
    asked.value = value;
    return host().global_access(self(), &asked, range) != 0;
  }
};

template <template <class> class Place, class T>
KILN_DEVICE T atomic_add(const Place<T>& to, T value) {
  return to.may(kKilnSimtAtomic, sizeof(T), &value) ? atomic_add(to.address, value) : T();
}
template <template <class> class Place, class T>
KILN_DEVICE T atomic_min(const Place<T>& to, T value) {
  return to.may(kKilnSimtAtomic, sizeof(T), &value) ? atomic_min(to.address, value) : T();
}
template <template <class> class Place, class T>
KILN_DEVICE T atomic_max(const Place<T>& to, T value) {
  return to.may(kKilnSimtAtomic, sizeof(T), &value) ? atomic_max(to.address, value) : T();
}
template <template <class> class Place, class T>
KILN_DEVICE T atomic_exchange(const Place<T>& to, T value) {
  return to.may(kKilnSimtAtomic, sizeof(T), &value) ? atomic_exchange(to.address, value) : T();
}
template <template <class> class Place, class T>
KILN_DEVICE T atomic_compare_exchange(const Place<T>& to, T expected, T value) {
  return to.may(kKilnSimtAtomic, sizeof(T), &value)
             ? atomic_compare_exchange(to.address, expected, value)
             : T();
}

template <int bytes, class T, class From>
KILN_DEVICE void async_copy(const SharedPlace<T>& to, const GlobalPlace<From>& from, bool valid) {
  if (valid && !from.may(kKilnSimtRead, bytes)) return;
  KilnSimtAccess write = to.access;
  write.kind = kKilnSimtWrite;
  write.bytes = bytes;
  if (host().async_copy_access(self(), &write) == 0) return;
  async_copy<bytes>(to.address, from.address, valid);
}

}  // namespace dialect

template <class T>
class Shared;

// One cell. Not a T&: kernels cannot take its address.
template <class T>
class SharedCell {
 public:
  KILN_DEVICE SharedCell(const Shared<T>& shared, Index i) : shared_(shared), i_(i) {}
  KILN_DEVICE operator T() const { return shared_.load(i_); }
  KILN_DEVICE void operator=(T value) const { shared_.store(i_, value); }
  KILN_DEVICE void operator=(const SharedCell& other) const { shared_.store(i_, T(other)); }
  KILN_DEVICE void operator+=(T value) const { shared_.store(i_, shared_.load(i_) + value); }

 private:
  const Shared<T> shared_;
  Index i_;
};

template <class T>
class Shared {
 public:
  KILN_DEVICE Shared(T* data, i64 count, const char* name)
      : data_(data), count_(count), name_(name) {}

  KILN_DEVICE T load(Index i) const { return load_vector<1>(i)[0]; }
  KILN_DEVICE void store(Index i, T value) const { store_vector<1>(i, Vec<T, 1>{{value}}); }
  KILN_DEVICE SharedCell<T> operator[](Index i) const { return SharedCell<T>(*this, i); }

  template <int N>
  KILN_DEVICE Vec<T, N> load_vector(Index i) const {
    const KilnSimtAccess access = access_to(i, kKilnSimtRead, sizeof(T) * N, nullptr);
    Vec<T, N> value = {};
    if (dialect::host().shared_access(dialect::self(), &access) != 0) {
      __builtin_memcpy(&value, access.address, sizeof value);
    }
    return value;
  }
  template <int N>
  KILN_DEVICE void store_vector(Index i, Vec<T, N> value) const {
    const KilnSimtAccess access = access_to(i, kKilnSimtWrite, sizeof(T) * N, &value);
    if (dialect::host().shared_access(dialect::self(), &access) != 0) {
      __builtin_memcpy(data_ + i.value, &value, sizeof value);
    }
  }

  KILN_DEVICE const char* name() const { return name_; }

  KILN_DEVICE dialect::SharedPlace<T> raw(Index i) const {
    return {data_ + i.value, access_to(i, kKilnSimtRead, sizeof(T), nullptr)};
  }

 private:
  KILN_DEVICE KilnSimtAccess access_to(Index i, KilnSimtAccessKind kind, u32 bytes,
                                       const void* value) const {
    return {data_ + i.value, value,     name_,  i.value, count_,
            bytes,           sizeof(T), i.site, kind,    dialect::type_of<T>};
  }

  T* data_;
  i64 count_;
  const char* name_;
};

template <class T>
class Global {
 public:
  using Value = remove_const<T>;

  KILN_DEVICE explicit Global(T* data)
      : Global(data, dialect::host().global_range(dialect::self(), data)) {}
  KILN_DEVICE Global from(i64 offset) const { return Global(data_ + offset, range_); }

  KILN_DEVICE Value load(Index i) const { return load_vector<1>(i)[0]; }
  KILN_DEVICE void store(Index i, Value value) const { store_vector<1>(i, Vec<Value, 1>{{value}}); }

  template <int N, Cache cache = Cache::normal>
  KILN_DEVICE Vec<Value, N> load_vector(Index i) const {
    Vec<Value, N> value = {};
    if (raw(i).may(kKilnSimtRead, sizeof value)) {
      __builtin_memcpy(&value, data_ + i.value, sizeof value);
    }
    return value;
  }
  template <int N, Cache cache = Cache::normal>
  KILN_DEVICE void store_vector(Index i, Vec<Value, N> value) const {
    if (raw(i).may(kKilnSimtWrite, sizeof value, &value)) {
      __builtin_memcpy(data_ + i.value, &value, sizeof value);
    }
  }
  KILN_DEVICE bool aligned(Index i, int bytes) const {
    return (reinterpret_cast<u64>(data_ + i.value) & static_cast<u64>(bytes - 1)) == 0;
  }

  KILN_DEVICE dialect::GlobalPlace<T> raw(Index i) const {
    return {data_ + i.value,
            range_,
            {data_ + i.value, nullptr, nullptr, i.value, 0, sizeof(T), sizeof(T), i.site,
             kKilnSimtRead, dialect::type_of<Value>}};
  }

 private:
  KILN_DEVICE Global(T* data, const KilnSimtRange* range) : data_(data), range_(range) {}

  T* data_;
  const KilnSimtRange* range_;  // of the tensor that the pointer was made from, if it is in one
};

}  // namespace kiln
