// What compilers from GCC 11 on take from a libstdc++ and a glibc newer than those of manylinux_2_28, the oldest system of
// a wheel: part of the library and of the modules, as in Red Hat's toolsets, so that wheels fit that system wherever they
// are built. `make wheel` fails where something is missing here.
#include <exception>
#include <new>
#include <sstream>

#if defined(__GLIBC__) && defined(__GLIBCXX__) && __GNUC__ >= 11
// Nobody else's: an attribute would be ignored, since the headers have declared these.
#define HIDDEN(symbol) __asm__(".hidden " #symbol)

extern "C" {
HIDDEN(__libc_single_threaded);
char __libc_single_threaded = 0;  // whether pointers may be counted without atomics: torch has threads

// Copy and end of an exception_ptr, in libstdc++ since GCC 4.4. Headers from GCC 11 on have them inline.
void copy_exception_ptr(void* made, const void* from) __asm__("_ZNSt15__exception_ptr13exception_ptrC1ERKS0_");
void end_exception_ptr(void* gone) __asm__("_ZNSt15__exception_ptr13exception_ptrD1Ev");
}

namespace std {

HIDDEN(_ZSt28__throw_bad_array_new_lengthv);
void __throw_bad_array_new_length() { throw bad_array_new_length(); }

namespace __exception_ptr {

HIDDEN(_ZNSt15__exception_ptr13exception_ptr9_M_addrefEv);
void exception_ptr::_M_addref() noexcept {  // a copy that is never destroyed is a reference more
    alignas(exception_ptr) unsigned char copy[sizeof(exception_ptr)];
    copy_exception_ptr(copy, this);
}

HIDDEN(_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv);
void exception_ptr::_M_release() noexcept { end_exception_ptr(this); }

}  // namespace __exception_ptr

HIDDEN(_ZNSt7__cxx1118basic_stringstreamIcSt11char_traitsIcESaIcEEC1Ev);
HIDDEN(_ZNSt7__cxx1118basic_stringstreamIcSt11char_traitsIcESaIcEEC2Ev);
template basic_stringstream<char>::basic_stringstream();
HIDDEN(_ZNSt7__cxx1119basic_ostringstreamIcSt11char_traitsIcESaIcEEC1Ev);
HIDDEN(_ZNSt7__cxx1119basic_ostringstreamIcSt11char_traitsIcESaIcEEC2Ev);
template basic_ostringstream<char>::basic_ostringstream();
#if __cplusplus > 201703L
HIDDEN(_ZNKRSt7__cxx1115basic_stringbufIcSt11char_traitsIcESaIcEE3strEv);
template string basic_stringbuf<char>::str() const&;
HIDDEN(_ZNOSt7__cxx1115basic_stringbufIcSt11char_traitsIcESaIcEE3strEv);
template string basic_stringbuf<char>::str() &&;
#endif

}  // namespace std
#endif
