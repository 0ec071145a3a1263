"""The parts of ./bench, what each compares, and the table."""
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

from bench import world, xen_world
from bench.world import Failure, StorageDaemon, Vmsgd

GIB = 1 << 30
PEER = "qemu-storage-daemon"
HANDOVER = "handing over only"


class Plan:
    """How long and how often."""

    def __init__(self, rounds, seconds, guests, raw_bytes):
        self.rounds = rounds
        self.seconds = seconds
        self.guests = guests
        self.raw_bytes = raw_bytes


FULL = Plan(rounds=5, seconds=1.0, guests=(1, 16, 256), raw_bytes=GIB)
SMOKE = Plan(rounds=1, seconds=0.05, guests=(1, 2), raw_bytes=16 << 20)


def say(text):
    print(text, file=sys.stderr, flush=True)


def rate(result):
    return result["operations"] / result["seconds"]


def cpu_us(result):
    return result["server_cpu_ns"] / max(result["operations"], 1) / 1000


def in_turn(plan, what, contestants, rounds=None):
    """Runs each contestant once a round and returns the medians: name -> (rate, cpu)."""
    rounds = rounds or plan.rounds
    runs = {name: [] for name in contestants}
    for number in range(rounds):
        for name, run in contestants.items():
            result = run()
            runs[name].append((rate(result), cpu_us(result)))
        say(f"  {what}: round {number + 1} of {rounds}")
    return {name: tuple(statistics.median(column) for column in zip(*all_of))
            for name, all_of in runs.items()}


class Row:
    """One line of the table: somebody's figures, and those of whom they are held against."""

    def __init__(self, part, case, who, figure, unit, against=None, bar=None, cpu=None,
                 cpu_bar=None):
        self.part, self.case, self.who = part, case, who
        self.figure, self.unit, self.cpu = figure, unit, cpu
        self.against, self.bar, self.cpu_bar = against, bar, cpu_bar

    @property
    def ratio(self):
        return self.figure / self.against.figure if self.against else None

    @property
    def cpu_ratio(self):
        if not self.against or not self.against.cpu or self.cpu is None:
            return None
        return self.cpu / self.against.cpu

    def verdict(self):
        if self.bar is None:
            return ""
        value = self.ratio if self.against else self.figure
        kept = value <= -self.bar if self.bar < 0 else value >= self.bar
        if self.cpu_bar is not None:
            kept = kept and self.cpu_ratio <= self.cpu_bar
        return "yes" if kept else "NO"

    def bar_text(self):
        if self.bar is None:
            return ""
        text = f"<= {-self.bar:g}" if self.bar < 0 else f">= {self.bar:g}"
        return text + (f", CPU <= {self.cpu_bar:g}" if self.cpu_bar is not None else "")

    def record(self):
        return {"part": self.part, "case": self.case, "who": self.who, "figure": self.figure,
                "unit": self.unit, "cpu_us_per_operation": self.cpu,
                "against": self.against.who if self.against else None, "ratio": self.ratio,
                "cpu_ratio": self.cpu_ratio, "bar": self.bar_text(), "kept": self.verdict()}


def compare(rows, part, case, medians, reference, bars=()):
    """Adds the reference and then everybody else, held against it. `bars`: name -> (rate, cpu)."""
    bars = dict(bars)
    base = Row(part, case, reference, medians[reference][0], "op/s", cpu=medians[reference][1])
    rows.append(base)
    for name, (figure, cpu) in medians.items():
        if name != reference:
            bar, cpu_bar = bars.get(name, (None, None))
            rows.append(Row(part, case, name, figure, "op/s", base, bar, cpu, cpu_bar))


OURS = {"grant copy, split": {}, "grant copy, packed": {"packed": True},
        "regions, split": {"shared_regions": True},
        "regions, packed": {"shared_regions": True, "packed": True}}


def ours(daemon, plan, **load):
    return {name: lambda way=way: daemon.load(seconds=plan.seconds, **way, **load)
            for name, way in OURS.items()}


def part_null(plan, rows):
    """The device side alone: a disk of zeros, so that everything else is what is measured."""
    with Vmsgd() as daemon, StorageDaemon(None, GIB) as peer:
        daemon.attach(1, "type=blk,target=null:1G,queue-size=1024")
        for depth in (1, 32, 128):
            for waiting in ("sleeping", "spinning"):
                load = {"depth": depth, "spin": waiting == "spinning"}
                case = f"null, depth {depth}, driver {waiting}"
                contestants = ours(daemon, plan, **load)
                contestants[PEER] = lambda load=load: peer.load(seconds=plan.seconds, **load)
                bars = {}
                if depth == 128:
                    bars = {"regions, split": (1.5, 0.6), "regions, packed": (1.5, 0.6),
                            "grant copy, split": (1.0, None), "grant copy, packed": (1.0, None)}
                compare(rows, "null", case, in_turn(plan, case, contestants), PEER, bars)


@contextlib.contextmanager
def disk_file(size):
    """The path of a file of random bytes that are on the disk."""
    directory = os.environ.get("VMSG_BENCH_DIR", "build")
    with tempfile.NamedTemporaryFile(dir=directory, prefix="bench-disk.") as disk:
        path = os.path.abspath(disk.name)
        subprocess.run(["dd", "if=/dev/urandom", f"of={path}", "bs=1M", "conv=fsync",
                        f"count={size >> 20}"], check=True, stderr=subprocess.DEVNULL)
        yield path


def part_raw(plan, rows):
    """A raw file with direct I/O, against fio on the same file. Driver and device side have
    processors of their own, as on a real host; fio may use all."""
    with disk_file(plan.raw_bytes) as path:
        with Vmsgd(is_apart=True) as daemon, StorageDaemon(path, plan.raw_bytes, True) as peer:
            daemon.attach(1, f"type=blk,target={path},shared=on,queue-size=1024")
            for depth, bar in ((1, 0.9), (32, 0.95)):
                case = f"raw file, depth {depth}"
                # A disk that others use too needs more rounds than a processor.
                contestants, bars = {}, {}
                for waiting in ("sleeping", "spinning"):
                    load = {"seconds": plan.seconds, "depth": depth, "spin": waiting == "spinning"}
                    for name in ("grant copy, split", "regions, split"):
                        contestants[f"{name}, {waiting}"] = lambda load=load, name=name: daemon.load(
                            **OURS[name], **load)
                        bars[f"{name}, {waiting}"] = (bar, None)
                    contestants[f"{PEER}, {waiting}"] = lambda load=load: peer.load(**load)
                    contestants[f"{HANDOVER}, {waiting}"] = lambda load=load: world.handoff(path, **load)
                contestants["fio"] = lambda depth=depth: world.fio(path, depth, plan.seconds)
                compare(rows, "raw", case, in_turn(plan, case, contestants, plan.rounds * 2), "fio",
                        bars)


def part_calls(plan, rows):
    """How often Xen and the kernel are called for a request: counted, so the machine's load does
    not matter much."""
    with Vmsgd() as daemon:
        daemon.attach(1, "type=blk,target=null:1G,queue-size=1024")
        for depth in (1, 8, 32):
            for name in ("grant copy, split", "regions, split"):
                case = f"null, depth {depth}"
                xen, kernel = [], []
                for _ in range(plan.rounds):
                    before = daemon.stats()
                    result, calls, own = world.count_syscalls(
                        daemon.daemon.pid, lambda name=name, depth=depth: daemon.load(
                            seconds=plan.seconds, depth=depth, **OURS[name]))
                    after = daemon.stats()
                    done = result["all_operations"]
                    grown = {key: after[key] - before[key] for key in after}
                    xen.append((grown["copy_calls"] + grown["notifies"]) / done)
                    # On Xen these are one system call each; what they are on the mock is taken off.
                    theirs = grown["copy_calls"] + grown["pendings"]
                    kernel.append((calls - own + theirs) / done)
                say(f"  calls, {case}, {name}")
                bar = {"grant copy, split": -0.15, "regions, split": -0.05}[name]
                rows.append(Row("calls", case, name, statistics.median(xen),
                                "grant and notify calls", bar=bar if depth == 32 else None))
                rows.append(Row("calls", case, name, statistics.median(kernel), "system calls",
                                bar=-0.2 if depth == 32 else None))
    with StorageDaemon(None, GIB) as peer:
        for depth in (1, 8, 32):
            kernel = []
            for _ in range(plan.rounds):
                result, calls, _ = world.count_syscalls(
                    peer.process.pid,
                    lambda depth=depth: peer.load(seconds=plan.seconds, depth=depth))
                kernel.append(calls / result["all_operations"])
            rows.append(Row("calls", f"null, depth {depth}", PEER, statistics.median(kernel),
                            "system calls"))


def part_scale(plan, rows):
    """Many guests: what each gets, and what idle ones cost."""
    for guests in plan.guests:
        with Vmsgd(guests) as daemon:
            empty = daemon.resident_kib()
            for guest in range(1, guests + 1):
                daemon.attach(guest, "type=blk,target=null:1G,queue-size=128")
            attached = daemon.resident_kib()
            say(f"  {guests} guests attached")
            fair, rates = [], []
            for _ in range(plan.rounds):
                result = daemon.load(seconds=plan.seconds, depth=8, guests=guests, warm_up=0.3)
                rates.append(rate(result))
                fair.append(min(result["each"]) / statistics.mean(result["each"]))
            case = f"{guests} guests, all busy"
            rows.append(Row("scale", case, "all together", statistics.median(rates), "op/s"))
            rows.append(Row("scale", case, "slowest against mean", statistics.median(fair), "",
                            bar=0.8 if guests == max(plan.guests) else None))
            rows.append(Row("scale", case, "memory of an attached guest",
                            (attached - empty) / guests, "KiB"))
            if guests == 1:
                continue
            contestants = {
                "alone": lambda: daemon.load(seconds=plan.seconds, depth=32),
                "among idle guests": lambda guests=guests: daemon.load(
                    seconds=plan.seconds, depth=32, guests=guests, busy_guests=1)}
            case = f"one busy guest, {guests - 1} idle"
            compare(rows, "scale", case, in_turn(plan, case, contestants), "alone",
                    {"among idle guests": (0.95, None)})


def part_growth(plan, rows):
    """What a request costs as queues, requests and the number of devices grow."""
    with Vmsgd() as daemon:
        daemon.attach(1, "type=blk,target=null:1G,queue-size=1024")
        sizes = {f"queue of {size}": lambda size=size: daemon.load(
            seconds=plan.seconds, depth=32, queue_size=size, shared_regions=True)
            for size in (128, 256, 512, 1024)}
        compare(rows, "growth", "null, depth 32", in_turn(plan, "queue sizes", sizes),
                "queue of 128")
        segments = {f"{32 // pages if pages else 1} segments of a 128 KiB read":
                    lambda pages=pages: daemon.load(
                        seconds=plan.seconds, depth=8, block=131072, pattern="read",
                        segment=pages * 4096, shared_regions=True, indirect=True)
                    for pages in (32, 4, 1)}
        compare(rows, "growth", "null, depth 8", in_turn(plan, "segments", segments),
                "1 segments of a 128 KiB read")
        before = daemon.load(seconds=plan.seconds, depth=32, shared_regions=True)
        for _ in range(31):
            daemon.attach(1, "type=blk,target=null:1G")
        after = daemon.load(seconds=plan.seconds, depth=32, shared_regions=True)
        compare(rows, "growth", "null, depth 32",
                {"1 device": (rate(before), cpu_us(before)),
                 "32 devices": (rate(after), cpu_us(after))}, "1 device")


def part_xen(_plan, rows):
    """Real Xen under QEMU: networks beside netback, disks beside blkback and qdisk, in one boot."""
    for case, (unit, medians) in xen_world.measure(rounds=5, seconds=3).items():
        if "dom0" in medians or unit == "%":  # prices, and who was busy: held against nothing
            rows += [Row("xen", case, who, figure, unit) for who, figure in medians.items()]
            continue
        for peer, bar in (("netback", 1.0), ("blkback", 1.0), ("qdisk", 1.5)):
            if peer in medians:
                against = Row("xen", case, peer, medians[peer], unit)
                rows += [against, Row("xen", case, "vmsgd", medians["vmsgd"], unit, against, bar)]


def part_smoke(plan, rows):
    """Every way of ours to a null disk for a moment, and the same requests by every way."""
    with Vmsgd(2) as daemon:
        for guest in (1, 2):
            daemon.attach(guest, "type=blk,target=null:1G,queue-size=256")
        for depth in (1, 32):
            for name, way in OURS.items():
                before = daemon.stats()["copy_calls"]
                result = daemon.load(seconds=plan.seconds, at_least=1, depth=depth,
                                     warm_up=0.01, **way)
                calls = daemon.stats()["copy_calls"] - before
                if result["operations"] == 0 or result["errors"] != 0:
                    raise Failure(f"depth {depth}, {name}: {result}")
                if (calls == 0) != ("shared_regions" in way):
                    raise Failure(f"depth {depth}, {name}: {calls} grant copy calls")
                rows.append(Row("smoke", f"null, depth {depth}", name, rate(result), "op/s"))
        for pattern in ("randwrite", "read"):
            result = daemon.load(seconds=plan.seconds, at_least=1, depth=8, guests=2, pattern=pattern,
                                 indirect=True, block=65536, segment=4096, warm_up=0.01)
            if result["errors"] != 0 or 0 in result["each"]:
                raise Failure(f"{pattern}, two guests: {result}")
    with disk_file(1 << 20) as path:
        for way in (False, True):
            if world.handoff(path, seconds=plan.seconds, depth=4, spin=way)["operations"] == 0:
                raise Failure(f"handing over, spinning {way}: nothing")


PARTS = {"null": part_null, "raw": part_raw, "calls": part_calls, "scale": part_scale,
         "growth": part_growth}
# Only when asked for by name.
MORE_PARTS = {"xen": part_xen}


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "processors": os.cpu_count(), "kernel": platform.release(),
            "load_average": os.getloadavg()}


def print_table(rows):
    header = ("CASE", "WHO", "FIGURE", "UNIT", "RATIO", "CPU/OP", "CPU RATIO", "BAR", "KEPT")
    lines = [header]
    for row in rows:
        figure = f"{row.figure:.0f}" if row.figure >= 100 else f"{row.figure:.3g}"
        lines.append((row.case, row.who, figure, row.unit,
                      f"{row.ratio:.2f}" if row.ratio is not None else "",
                      f"{row.cpu:.2f} us" if row.cpu is not None else "",
                      f"{row.cpu_ratio:.2f}" if row.cpu_ratio is not None else "",
                      row.bar_text(), row.verdict()))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())


def main(arguments):
    smoke = "--smoke" in arguments
    plan = SMOKE if smoke else FULL
    wanted = [each for each in arguments if each != "--smoke"] or list(PARTS)
    known = {**PARTS, **MORE_PARTS, "smoke": part_smoke}
    unknown = [each for each in wanted if each not in known]
    if unknown:
        print(f"bench: no part named '{unknown[0]}'; there are: "
              f"{', '.join([*PARTS, *MORE_PARTS])}",
              file=sys.stderr)
        return 2
    rows = []
    try:
        for name in wanted:
            say(f"== {name}: {known[name].__doc__.strip().splitlines()[0]}")
            known[name](plan, rows)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except FileNotFoundError as missing:
        print(f"bench: there is no {missing.filename}; scripts/setup bench installs what is compared, "
              "and the dev preset builds the rest", file=sys.stderr)
        return 1
    print_table(rows)
    if not smoke:
        os.makedirs("build", exist_ok=True)
        with open("build/bench.json", "w", encoding="utf-8") as output:
            json.dump({"machine": machine(), "rounds": plan.rounds, "seconds": plan.seconds,
                       "rows": [row.record() for row in rows]}, output, indent=1)
    return 0
