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

# With the metadata that pip would put beside it, its entry points are found: the fixture by pytest,
# with no word about it in the test, and the command.
execute_process(COMMAND ${PYTHON} -c "import sys, scikit_build_core.build as build
build.prepare_metadata_for_build_wheel(sys.argv[1])" ${WORK}
  WORKING_DIRECTORY ${SOURCE} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(WRITE ${WORK}/test_of_a_user.py "
import importlib.metadata, subprocess, sys
import kiln, numpy, pytest

def test_compiles_nothing(kiln_no_compile):
    with pytest.raises(kiln.CacheMiss):
        kiln.router_gemm(numpy.ones((2, 64), numpy.float16), numpy.ones((2, 64), numpy.float16))

def test_command():
    point, = (each for each in importlib.metadata.entry_points(group='console_scripts')
              if each.name == 'jitctl')
    main = f'import sys; from {point.module} import {point.attr} as main; main()'
    told = subprocess.check_output([sys.executable, '-c', main, '--version'], text=True)
    assert importlib.metadata.version('kiln') in told, told
")
execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=KILN_LLVM_LIBRARY --unset=KILN_WORKER
    PYTHONPATH=${WORK} KILN_CACHE_POLICY=off PYTHONDONTWRITEBYTECODE=1
  ${PYTHON} -m pytest -q -p no:cacheprovider --rootdir ${WORK} test_of_a_user.py
  WORKING_DIRECTORY ${WORK} COMMAND_ERROR_IS_FATAL ANY)
