# Pages to one program: each ```cpp block in a namespace of its own, its includes before them all,
# `int main() {` as a function that the program's main calls.
FNR == 1 { in_block = 0 }
/^```cpp$/ {
  in_block = 1; ++count; in_main = 0
  text = text "namespace block_" count " {\n#line " FNR + 1 " \"" FILENAME "\"\n"
  next
}
/^```/ && in_block { in_block = 0; text = text "}\n"; next }
!in_block { next }
# What stands in a raw string is no code of the block's.
/R"\(/ { raw = 1 }
raw { text = text $0 "\n"; if (/\)"/) raw = 0; next }
/^#include/ {
  if (!($0 in seen)) { seen[$0] = 1; includes = includes $0 "\n" }
  text = text "\n"
  next
}
/^int main\(\) \{$/ {
  in_main = 1
  mains = mains "  run(\"" FILENAME ":" FNR "\", block_" count "::run_main);\n"
  sub(/main\(\)/, "run_main()")
}
in_main && /^\}/ { in_main = 0; text = text "  return 0;\n" }  # as a main has it
{ text = text $0 "\n" }
END {
  print "#include <cstdio>\n" includes text
  print "static int failed = 0;"
  print "static void run(const char* where, int (*block)()) {"
  print "  std::printf(\"%s\\n\", where);\n  const int code = block();"
  print "  if (code != 0) std::printf(\"exit code %d\\n\", code), failed = 1;\n}"
  print "int main() {\n" mains "  return failed;\n}"
}
