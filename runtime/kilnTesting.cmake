# kiln_add_no_compile_test(NAME <name> COMMAND <program> [<argument>...]
#                          [CACHE <folder>] [PREWARM <argument of jitctl prewarm>...])
#
# A CTest that fails where its program would have to compile a kernel: it runs with the policy
# `locked`, under which a miss is an error that names the kernel, the nearest stored one and the
# fields that differ. CACHE is the cache that it reads, by default one of this build. With PREWARM,
# a fixture `<name>_prewarm` fills that cache first.
function(kiln_add_no_compile_test)
  cmake_parse_arguments(PARSE_ARGV 0 test "" "NAME;CACHE" "COMMAND;PREWARM")
  if(NOT test_NAME OR NOT test_COMMAND)
    message(FATAL_ERROR "kiln_add_no_compile_test wants NAME and COMMAND")
  endif()
  if(test_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "kiln_add_no_compile_test: what is '${test_UNPARSED_ARGUMENTS}'?")
  endif()
  if(NOT test_CACHE)
    set(test_CACHE ${CMAKE_CURRENT_BINARY_DIR}/${test_NAME}_kernels)
  endif()
  add_test(NAME ${test_NAME} COMMAND ${test_COMMAND})
  set_tests_properties(${test_NAME} PROPERTIES
    ENVIRONMENT "KILN_CACHE_DIR=${test_CACHE};KILN_CACHE_POLICY=locked")
  if(test_PREWARM)
    add_test(NAME ${test_NAME}_prewarm COMMAND kiln::jitctl prewarm ${test_PREWARM})
    set_tests_properties(${test_NAME}_prewarm PROPERTIES FIXTURES_SETUP ${test_NAME}_prewarm
      ENVIRONMENT "KILN_CACHE_DIR=${test_CACHE};KILN_CACHE_POLICY=read_write")
    set_tests_properties(${test_NAME} PROPERTIES FIXTURES_REQUIRED ${test_NAME}_prewarm)
  endif()
endfunction()
