// Only there to have the headers of tests/CMakeLists.txt compiled for it.
