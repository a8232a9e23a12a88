# What `cmake --install` puts into a prefix. Nothing in it names the prefix, so it may be moved.
#
#   bin/jitctl, bin/kiln-worker       the command line; the process that compiles
#   lib/libkiln.so, lib/libkiln*.a    both forms
#   lib/libkiln_llvm.so               beside libkiln.so, where it looks for the plugin
#   include/kiln/                     the public headers, and those of Kiln's that they include
#   lib/cmake/kiln, lib/pkgconfig     find_package(kiln), pkg-config kiln
include(CMakePackageConfigHelpers)
set(folder lib/cmake/kiln)

set_target_properties(kiln PROPERTIES EXPORT_NAME static)
set_target_properties(kiln_shared PROPERTIES EXPORT_NAME shared)
if(NOT KILN_SANITIZE)
  install(TARGETS kiln_shared EXPORT kilnShared LIBRARY DESTINATION lib)
  install(EXPORT kilnShared NAMESPACE kiln:: DESTINATION ${folder})
endif()
install(TARGETS ${boxes} EXPORT kilnStatic ARCHIVE DESTINATION lib)
install(EXPORT kilnStatic NAMESPACE kiln:: DESTINATION ${folder})
if(TARGET kiln_llvm)
  install(TARGETS kiln_llvm LIBRARY DESTINATION lib)
endif()
if(TARGET kiln-worker)
  install(TARGETS kiln-worker RUNTIME DESTINATION bin)
endif()

write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/kilnConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_SOURCE_DIR}/kilnConfig.cmake
  ${CMAKE_CURRENT_SOURCE_DIR}/kilnTesting.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/kilnConfigVersion.cmake DESTINATION ${folder})
configure_file(kiln.pc.in kiln.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kiln.pc DESTINATION lib/pkgconfig)

install(CODE "set(ROOT \"${PROJECT_SOURCE_DIR}\")")
install(SCRIPT ${CMAKE_CURRENT_SOURCE_DIR}/install_headers.cmake)
