# SPDX-License-Identifier: Apache-2.0
"""What the module does to the process that it is in: import, fork, spawn, threads, locks."""
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import kiln
import numpy as np
import pytest

X = np.ones((2, 64), np.float16)
W = np.ones(64, np.float32)
PACKAGE = pathlib.Path(kiln.__file__).parent


def norm():
    return float(kiln.qk_rmsnorm(X, X, W, W)[0].sum())


def run(code, **environment):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_opens_nothing():
    maps = run("import kiln; print(open('/proc/self/maps').read()); import sys; "
               "assert not {'numpy', 'torch', 'jax'} & set(sys.modules); "
               "assert len(__import__('os').listdir('/proc/self/task')) == 1")
    opened = {word.rsplit("/", 1)[-1] for word in maps.split() if word.startswith("/")}
    assert any(name.startswith("libkiln.so") for name in opened)
    for library in ("libkiln_llvm", "libLLVM", "libnvrtc", "libcuda", "libamdhip64", "libhiprtc"):
        assert not [name for name in opened if name.startswith(library)], library


def test_torchs_operators_come_with_torch():
    pytest.importorskip("torch", reason="torch is not installed: tools/fetch_python.sh")
    has = "print(torch._C._dispatch_has_kernel('kiln::qk_rmsnorm'))"
    assert run(f"import torch, kiln; {has}") == "True\n"
    assert run(f"import kiln, torch; {has}; kiln.register_torch_ops(); {has}") == "False\nTrue\n"
    # As where torch is not installed: all but its operators is there.
    assert run("import sys; sys.modules['torch'] = None; import kiln; print(kiln.stats()['compiles'])\n"
               "try: kiln.register_torch_ops()\n"
               "except ImportError as error: print(error.name)") == "0\ntorch\n"


def test_main_is_jitctl():
    words = ["ops", "--json"]
    ours = subprocess.run([sys.executable, "-m", "kiln", *words], capture_output=True, check=True)
    theirs = subprocess.run([PACKAGE / "bin" / "jitctl", *words], capture_output=True, check=True)
    assert ours.stdout == theirs.stdout and ours.stdout
    wrong = subprocess.run([sys.executable, "-m", "kiln", "nonsense"], capture_output=True,
                           check=False)
    assert wrong.returncode == 2


def _child(queue):
    queue.put(norm())


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_processes(how):
    expected = norm()  # so that a forked child inherits what is open
    context = multiprocessing.get_context(how)
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(60)
    assert child.exitcode == 0


def test_locked_forbids_compiling_and_nothing_else():
    norm()
    a = np.ones((2, 24), np.float16)
    before = kiln.stats()
    with kiln.locked():
        with kiln.locked():
            norm()
        with pytest.raises(kiln.CacheMiss, match="router_gemm.*K=24"):
            kiln.router_gemm(a, a)
    assert kiln.stats()["compiles"] == before["compiles"]
    kiln.router_gemm(a, a)  # at once: the miss is not remembered
    assert kiln.stats()["compiles"] == before["compiles"] + 1


def test_fixture(kiln_no_compile):
    with pytest.raises(kiln.CacheMiss):
        kiln.router_gemm(np.ones((2, 40), np.float16), np.ones((2, 40), np.float16))


def ticks_meanwhile(work):
    """How far another thread counts while one works."""
    ticks = 0
    done = threading.Event()

    def count():
        nonlocal ticks
        while not done.wait(0.001):
            ticks += 1

    counter = threading.Thread(target=count)
    counter.start()
    work()
    done.set()
    counter.join()
    return ticks


def test_gil_is_released_while_compiling():
    assert ticks_meanwhile(lambda: kiln.prewarm("attention_prefill", D_qk=96, D_vo=96)) > 10


def test_gil_is_released_while_launching():
    a, w = np.ones((4096, 1024), np.float16), np.ones((512, 1024), np.float16)
    out = np.empty((4096, 512), np.float32)
    kiln.router_gemm(a[:1], w, out=out[:1])
    assert ticks_meanwhile(lambda: kiln.router_gemm(a, w, out=out)) > 10
    assert (out == 1024).all()


def test_prewarm_and_configure(tmp_path):
    assert [tier for _, tier in kiln.prewarm("router_gemm", N=16, K=32)] == ["compiled"]
    assert [tier for _, tier in kiln.prewarm("router_gemm", N=16, K=32)] == ["memory"]
    with pytest.raises(kiln.InvalidArgument, match="did you mean 'router_gemm'"):
        kiln.prewarm("router_gem")
    with pytest.raises(TypeError, match="an op or config="):
        kiln.prewarm()
    with pytest.raises(kiln.InvalidArgument, match="KILN_CACHE_POLICY='x'"):
        kiln.configure(KILN_CACHE_POLICY="x")
    try:
        kiln.configure(KILN_CACHE_DIR=tmp_path, KILN_CACHE_POLICY="locked")
        with pytest.raises(kiln.CacheMiss):
            norm()
    finally:
        kiln.configure()
    kiln.load("router_gemm", N=16, K=32)
    assert kiln.stats()["disk_hits"] == 1


def test_prewarm_of_a_model_that_is_not_there(tmp_path):
    with pytest.raises(kiln.Error, match="jitctl prewarm") as caught:
        kiln.prewarm(config=tmp_path / "none.json", tp=2)
    assert "none.json" in caught.value.log


def test_exceptions_carry_the_log():
    error = kiln.CompileFailed("router_gemm: rejected", "line 3: error: no such thing")
    again = pickle.loads(pickle.dumps(error))
    assert (again.log, str(again), again.code) == (error.log, str(error), "compile_failed")


def test_stub_is_up_to_date():
    root = pathlib.Path(__file__).parents[2]
    made = subprocess.run([sys.executable, root / "tools" / "python_stub.py"], capture_output=True,
                          text=True, check=True).stdout
    assert made == (root / "runtime" / "python" / "kiln" / "__init__.pyi").read_text()
