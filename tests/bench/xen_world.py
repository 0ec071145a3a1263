"""Real Xen under QEMU: the measurements of tests/bench/xen, beside Xen's own backends in one boot."""
import os
import shutil
import statistics
import subprocess

from bench.world import Failure

TESTS = ("t-speed-prices", "t-speed-net", "t-speed-disk")


def results_folder():
    return os.path.join(os.environ.get("VMSG_XEN_DIR", os.path.join("build", "xen")), "results")


def measure(rounds, seconds):
    """Boots, measures, and returns medians: case -> (unit, who -> figure), in the order measured."""
    env = dict(os.environ, VMSG_XEN_TESTS=os.path.abspath("tests/bench/xen"))
    env.setdefault("VMSG_TEST_ROUNDS", str(rounds))
    env.setdefault("VMSG_TEST_SECONDS", str(seconds))
    for test in TESTS:
        shutil.rmtree(os.path.join(results_folder(), test), ignore_errors=True)
    done = subprocess.run(["tests/xen/run", *TESTS], env=env)
    if done.returncode != 0:
        raise Failure(f"tests/xen/run ended with {done.returncode}")
    return {case: (unit, {who: statistics.median(figures) for who, figures in all_of.items()})
            for case, (unit, all_of) in read_figures().items()}


def read_figures():
    cases = {}
    for test in TESTS:
        path = os.path.join(results_folder(), test, "figures")
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                case, who, figure, unit = line.rstrip("\n").split("\t")
                cases.setdefault(case, (unit, {}))[1].setdefault(who, []).append(float(figure))
    return cases
