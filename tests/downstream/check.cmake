# Installs a build into a prefix, moves the prefix, and builds and runs the example from there: shared,
# static, and by pkg-config; then a project of the guides' own lines.
#   cmake -DBUILD=<build folder> -DEXAMPLE=<folder> -DDOCS=<folder> -DCONFIG=<a model's config.json>
#     -DWORK=<scratch folder> -DNM=<nm> -P check.cmake
cmake_policy(VERSION 3.25)
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " words)
    message(FATAL_ERROR "${words}\nexit ${code}\n${out}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

# The kernel compiles in the first process and comes from the cache in the second.
function(check_programs folder label)
  set(cache ${WORK}/cache_${label})
  foreach(expected "compiles 1, disk hits 0" "compiles 0, disk hits 1")
    run(${CMAKE_COMMAND} -E env KILN_CACHE_DIR=${cache} ${environment} ${folder}/own_kernel)
    if(NOT out MATCHES "y = 13 25 37, ${expected}")
      message(FATAL_ERROR "${label}: own_kernel said: ${out}")
    endif()
  endforeach()
  # The same in a kiln-worker, which must be found first.
  run(${CMAKE_COMMAND} -E env KILN_CACHE_DIR=${cache}_worker KILN_ISOLATION=all ${environment}
    ${folder}/own_kernel)
  if(NOT out MATCHES "y = 13 25 37, compiles 1, disk hits 0")
    message(FATAL_ERROR "${label}: own_kernel by kiln-worker said: ${out}")
  endif()
  run(${CMAKE_COMMAND} -E env KILN_CACHE_DIR=${cache} ${folder}/from_c)
  if(NOT out MATCHES "from C: ready 0")
    message(FATAL_ERROR "${label}: from_c said: ${out}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/first)
file(RENAME ${WORK}/first ${WORK}/moved)
set(prefix ${WORK}/moved)
file(GLOB_RECURSE texts ${prefix}/lib/cmake/*.cmake ${prefix}/lib/pkgconfig/*.pc)
foreach(text ${texts})
  file(STRINGS ${text} named REGEX "${WORK}/first")
  if(named)
    message(FATAL_ERROR "${text} names the prefix that it was installed into: ${named}")
  endif()
endforeach()

# A build without the plugin borrows one, so that the moved prefix is whole all the same.
if(NOT EXISTS ${prefix}/lib/libkiln_llvm.so AND DEFINED ENV{KILN_LLVM_LIBRARY})
  file(COPY $ENV{KILN_LLVM_LIBRARY} DESTINATION ${prefix}/lib)
endif()
if(NOT EXISTS ${prefix}/lib/libkiln_llvm.so)
  message(FATAL_ERROR "no LLVM plugin: build with KILN_BUILD_LLVM=ON or set KILN_LLVM_LIBRARY")
endif()
set(without_variable --unset=KILN_LLVM_LIBRARY --unset=KILN_WORKER)

# Shared: libkiln.so finds the plugin beside itself, and the worker in the bin beside its folder.
set(environment ${without_variable})
run(${CMAKE_COMMAND} -S ${EXAMPLE} -B ${WORK}/shared -G Ninja -DCMAKE_PREFIX_PATH=${prefix})
run(${CMAKE_COMMAND} --build ${WORK}/shared)
check_programs(${WORK}/shared shared)

# The contract with CI: warm passes; with an empty cache the test fails, under the policy `locked`
# by the miss, without it by what was compiled, and each time the kernel is named.
run(${CMAKE_COMMAND} -E env ${environment} ctest --test-dir ${WORK}/shared -R ^warm --no-tests=error)
function(expect_red name said)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env ${environment} KILN_CACHE_DIR=${WORK}/cache_${name}
    ctest --test-dir ${WORK}/shared -R ^${name}$ --output-on-failure
    RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(code EQUAL 0 OR NOT out MATCHES "${said}")
    message(FATAL_ERROR "${name} with an empty cache should have failed and named the kernel: ${out}")
  endif()
endfunction()
expect_red(cold "cache miss: qk_rmsnorm/cpu Nq=64")
expect_red(compiling "1 kernels were not in the cache and were compiled:\n  qk_rmsnorm/cpu Nq=64")

# The first block of that language on a page of the guides.
function(read_block page language target)
  file(READ ${DOCS}/${page} text)
  string(FIND "${text}" "\n```${language}\n" begin)
  if(begin EQUAL -1)
    message(FATAL_ERROR "${page} has no block of ${language}")
  endif()
  string(SUBSTRING "${text}" ${begin} -1 text)
  string(REGEX REPLACE "^\n```[a-z]+\n" "" text "${text}")
  string(FIND "${text}" "\n```" end)
  string(SUBSTRING "${text}" 0 ${end} text)
  set(${target} "${text}" PARENT_SCOPE)
endfunction()

# What engine.md and ci.md say, in one project: an engine, and its warm-up as a test. The engine loads
# a kernel of the model that PREWARM names.
read_block(engine.md cmake link)
read_block(ci.md cmake test)
read_block(ci.md cpp warm_up)
set(placeholder "  // ... the engine's warm-up ...\n")
set(load "  kiln::KernelRequest request;
  request.op = *kiln::find_op(\"kda_decode\");
  const std::vector<kiln::NameValue> wanted = {{\"H\", \"8\"}, {\"HV\", \"8\"}};
  request.shape = kiln::parse_arguments(*request.op, wanted)->shape;
  EXPECT_TRUE(runtime->load(request));
")
string(REPLACE "${placeholder}" "${load}" loading "${warm_up}")
if(loading STREQUAL warm_up)
  message(FATAL_ERROR "ci.md's test has no place for a warm-up")
endif()
set(guide ${WORK}/guide)
file(WRITE ${guide}/engine_warm_up.cpp "${loading}")
file(COPY ${EXAMPLE}/from_c.c DESTINATION ${guide})
file(COPY_FILE ${CONFIG} ${guide}/config.json)
file(WRITE ${guide}/CMakeLists.txt "cmake_minimum_required(VERSION 3.25)
project(engine LANGUAGES C CXX)
find_package(GTest REQUIRED)
enable_testing()
add_executable(engine from_c.c)
${link}
add_executable(engine_warm_up engine_warm_up.cpp)
target_compile_features(engine_warm_up PRIVATE cxx_std_20)
target_link_libraries(engine_warm_up PRIVATE kiln::kiln GTest::gtest_main)
${test}
")
run(${CMAKE_COMMAND} -S ${guide} -B ${guide}/build -G Ninja -DCMAKE_PREFIX_PATH=${prefix})
run(${CMAKE_COMMAND} --build ${guide}/build)
run(${CMAKE_COMMAND} -E env ${environment} ctest --test-dir ${guide}/build -R ^warm_up --no-tests=error
  --output-on-failure)
if(NOT out MATCHES "2 tests passed|100% tests passed, 0 tests failed out of 2")
  message(FATAL_ERROR "the guides' project should have run its prewarm and its warm-up: ${out}")
endif()

# Static: the program is the library, and finds what its build put beside it.
run(${CMAKE_COMMAND} -S ${EXAMPLE} -B ${WORK}/static -G Ninja -DCMAKE_PREFIX_PATH=${prefix}
  -DKILN_FORM=static)
run(${CMAKE_COMMAND} --build ${WORK}/static)
check_programs(${WORK}/static static)
# By the PATH, too: the program's name tells no folder then.
run(${CMAKE_COMMAND} -E env ${environment} PATH=${WORK}/static:$ENV{PATH}
  KILN_CACHE_DIR=${WORK}/cache_path KILN_ISOLATION=all own_kernel)
if(NOT out MATCHES "compiles 1, disk hits 0")
  message(FATAL_ERROR "static: own_kernel by the PATH said: ${out}")
endif()

# pkg-config, from C.
run(${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${prefix}/lib/pkgconfig
  sh -c "cc -std=c11 ${EXAMPLE}/from_c.c -o ${WORK}/by_pkg_config $(pkg-config --cflags --libs kiln)")
run(${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${prefix}/lib KILN_CACHE_DIR=${WORK}/cache_pc
  ${WORK}/by_pkg_config)

# What the command line's definition generates.
foreach(file share/bash-completion/completions/jitctl share/zsh/site-functions/_jitctl
    share/fish/vendor_completions.d/jitctl.fish share/man/man1/jitctl.1)
  file(STRINGS ${prefix}/${file} found REGEX prewarm)
  if(NOT found)
    message(FATAL_ERROR "${file} does not know prewarm")
  endif()
endforeach()

# jitctl finds the plugin by its own place.
run(${CMAKE_COMMAND} -E env ${without_variable} KILN_CACHE_DIR=${WORK}/cache_jitctl
  ${prefix}/bin/jitctl compile router_gemm N=64 K=256 --arch cpu)

# What the shared library shows: the C interface as its header lists it, and C++ of the public
# headers. The names of what is internal must not appear.
run(sh -c "${NM} -D --defined-only --format=posix ${prefix}/lib/libkiln.so | cut -d' ' -f1 | c++filt")
string(REGEX REPLACE "\n+" ";" shown "${out}")
file(READ ${prefix}/include/kiln/c_api.h header)
string(REGEX MATCHALL "KILN_C_API [a-z0-9_ *\n]*[ *\n](kiln_[a-z0-9_]+)\\(" declarations "${header}")
set(declared)
foreach(declaration ${declarations})
  string(REGEX REPLACE ".*[ *\n](kiln_[a-z0-9_]+)\\($" "\\1" name ${declaration})
  list(APPEND declared ${name})
endforeach()
list(LENGTH declared declared_count)
if(declared_count LESS 25)
  message(FATAL_ERROR "only ${declared_count} declarations were found in c_api.h: ${declared}")
endif()
set(shown_c ${shown})
list(FILTER shown_c INCLUDE REGEX "^kiln_")
list(SORT shown_c)
list(SORT declared)
if(NOT shown_c STREQUAL declared)
  message(FATAL_ERROR "c_api.h declares ${declared}\nand libkiln.so shows ${shown_c}")
endif()
foreach(symbol ${shown})
  if(symbol MATCHES "^kiln_|^(vtable|typeinfo|typeinfo name) for kiln::|^kiln::")
    if(NOT symbol MATCHES "Sqlite|FlightCache|ArtifactSource|kiln::Calls|PackedShape|Background|Nvrtc|kiln::Lease")
      continue()
    endif()
  endif()
  message(FATAL_ERROR "libkiln.so shows what is no interface: ${symbol}")
endforeach()
list(LENGTH shown count)
message(STATUS "both forms, pkg-config and jitctl work from ${prefix}; ${count} symbols exported")
file(REMOVE_RECURSE ${WORK})
