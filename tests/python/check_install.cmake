# What a wheel holds, put into a folder: it runs there, with nothing of the build tree, and compiles.
file(REMOVE_RECURSE ${WORK})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK} --component python
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
set(code "
import os, subprocess, sys
import kiln, numpy
home = os.path.dirname(kiln.__file__)
assert home.startswith(sys.argv[1]), home
subprocess.run([sys.executable, '-m', 'kiln', '--version'], check=True)
kiln.router_gemm(numpy.ones((2, 64), numpy.float16), numpy.ones((2, 64), numpy.float16))
assert kiln.stats()['compiles'] == 1
for line in open('/proc/self/maps'):
    assert 'libkiln' not in line or sys.argv[1] in line, line
assert os.access(os.path.join(home, 'bin', 'kiln-worker'), os.X_OK)
for name in ('py.typed', '__init__.pyi'):
    assert os.path.exists(os.path.join(home, name)), name
")
foreach(isolation off all)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=KILN_LLVM_LIBRARY --unset=KILN_WORKER
      PYTHONPATH=${WORK} KILN_CACHE_POLICY=off KILN_ISOLATION=${isolation}
    ${PYTHON} -c "${code}" ${WORK} WORKING_DIRECTORY / COMMAND_ERROR_IS_FATAL ANY)
endforeach()
