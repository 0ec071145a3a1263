"""Who is measured: vmsgd on a mock Xen, qemu-storage-daemon, fio; each started, loaded and ended."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("VMSG_BUILD", "build/dev"))
BIN = os.path.join(BUILD, "bin")
LOADER = os.path.join(BIN, "block-bench")
HANDOFF = os.path.join(BIN, "handoff-bench")
SYSCALLS = "raw_syscalls:sys_enter"
# What the mock asks of its kernel where Xen would be asked: a grant copy and the reading of an event
# are counted by the mock as what they are on Xen, so its own ways to do them are not counted again.
MOCK_SYSCALLS = [f"syscalls:sys_enter_{name}"
                 for name in ("madvise", "readv", "writev", "preadv2")]


class Failure(Exception):
    pass


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"waited in vain for {what}")
        time.sleep(0.02)


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def load_arguments(load):
    """A load is a dictionary; True stands for a flag."""
    arguments = []
    for name, value in load.items():
        if value is True:
            arguments.append("--" + name.replace("_", "-"))
        elif value is not None and value is not False:
            arguments += ["--" + name.replace("_", "-"), str(value)]
    return arguments


def apart():
    """Processors of a driver and of its device side, which on a real host never share one:
    (driver's, device side's). None where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return ({usable[0]}, set(usable[1:])) if len(usable) > 1 else (None, None)


def confined_to(processors):
    """For Popen's preexec_fn."""
    return (lambda: os.sched_setaffinity(0, processors)) if processors else None


def run_loader(command, env=None, processors=None):
    done = subprocess.run(command, env=env, capture_output=True, text=True,
                          preexec_fn=confined_to(processors))
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


def count_syscalls(pid, action):
    """Runs `action` and counts the system calls of a process meanwhile: (result, all, the mock's)."""
    with tempfile.NamedTemporaryFile("r", suffix=".perf") as output:
        counter = subprocess.Popen(
            ["perf", "stat", "-x", ",", "-o", output.name, "-e", ",".join([SYSCALLS, *MOCK_SYSCALLS]),
             "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.3)  # it has no way to say that it counts
        if counter.poll() is not None:
            raise Failure(f"perf cannot count system calls: {counter.stderr.read().strip()}")
        result = action()
        counter.send_signal(signal.SIGINT)
        counter.wait()
        counts = {}
        for line in output.read().splitlines():
            fields = line.split(",")
            if len(fields) > 2 and fields[0].isdigit():
                counts[fields[2]] = int(fields[0])
    return result, counts.get(SYSCALLS, 0), sum(counts.get(name, 0) for name in MOCK_SYSCALLS)


class Vmsgd:
    """vmsgd in domain 0 of a mock Xen of its own, with guests 1, 2, ..."""

    def __init__(self, guests=1, arguments=(), is_apart=False):
        self.driver_on, self.device_on = apart() if is_apart else (None, None)
        self.directory = tempfile.mkdtemp(prefix="vmsg-bench.")
        self.env = dict(os.environ, XEN_MOCK=os.path.join(self.directory, "xen"))
        self.processes = []
        try:
            broker = subprocess.Popen([os.path.join(BIN, "xen-mock"), "serve", "--socket",
                                       self.env["XEN_MOCK"]], stdout=subprocess.PIPE, env=self.env)
            self.processes.append(broker)
            if not broker.stdout.readline():
                raise Failure("the mock's broker does not come up")
            for guest in range(1, guests + 1):
                self.mock("domain", "create", str(guest))
            self.daemon = subprocess.Popen(
                [os.path.join(BIN, "vmsgd"), "--log-level", "error", "--socket",
                 os.path.join(self.directory, "vmsgd.sock"), *arguments],
                env=self.in_domain(0), preexec_fn=confined_to(self.device_on))
            self.processes.append(self.daemon)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def in_domain(self, domain):
        return dict(self.env, XEN_MOCK_DOMID=str(domain),
                    LD_LIBRARY_PATH=os.path.join(BUILD, "mock-xen"))

    def mock(self, *command):
        return subprocess.run([os.path.join(BIN, "xen-mock"), *command], env=self.env, check=True,
                              capture_output=True, text=True).stdout

    def attach(self, guest, spec):
        done = subprocess.run([os.path.join(BIN, "vmsg"), "attach", "--timeout", "60", str(guest),
                               spec], env=self.in_domain(0), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"vmsg attach {guest} {spec}: {done.stderr.strip()}")

    def stats(self):
        return json.loads(self.mock("stats", "0", "--json"))["0"]

    def resident_kib(self):
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def load(self, **load):
        return run_loader([LOADER, "vmsg", "--server-pid", str(self.daemon.pid),
                           *load_arguments(load)], self.env, self.driver_on)

    def close(self):
        for process in reversed(self.processes):
            end(process)
        shutil.rmtree(self.directory, ignore_errors=True)


class StorageDaemon:
    """qemu-storage-daemon with one vhost-user-blk export, served by a thread of its own."""

    def __init__(self, target, size, is_apart=False):
        self.driver_on, self.device_on = apart() if is_apart else (None, None)
        self.directory = tempfile.mkdtemp(prefix="vmsg-bench.")
        self.size = size
        self.socket = os.path.join(self.directory, "export")
        if target is None:
            disk = f"driver=null-co,node-name=disk,size={size},read-zeroes=on"
        else:
            disk = (f"driver=file,node-name=disk,filename={target},cache.direct=on,aio=io_uring")
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--object", "iothread,id=thread", "--blockdev", disk,
             "--export", "type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=1,"
             f"iothread=thread,addr.type=unix,addr.path={self.socket}"],
            preexec_fn=confined_to(self.device_on))
        try:
            wait_for(lambda: os.path.exists(self.socket), "qemu-storage-daemon")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def load(self, **load):
        return run_loader([LOADER, "vhost-user", "--socket", self.socket, "--disk-bytes",
                           str(self.size), "--server-pid", str(self.process.pid),
                           *load_arguments(load)], processors=self.driver_on)

    def close(self):
        end(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)


def handoff(path, **load):
    """What a thread of its own costs any device side: reads handed over and back, and nothing else."""
    driver_on, device_on = apart()
    where = []
    for option, processors in (("--driver-on", driver_on), ("--device-on", device_on)):
        if processors:
            where += [option, *map(str, sorted(processors))]
    return run_loader([HANDOFF, path, *where, *load_arguments(load)])


def fio(path, depth, seconds, warm_up=0.1, pattern="randread", block=4096):
    """The limit: the same accesses to the same file by io_uring, without any guest."""
    done = subprocess.run(
        ["fio", "--name=limit", f"--filename={path}", "--direct=1", "--ioengine=io_uring",
         f"--rw={pattern}", f"--bs={block}", f"--iodepth={depth}", f"--runtime={seconds}",
         f"--ramp_time={warm_up}", "--time_based", "--output-format=json"],
        capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"fio: {done.stderr.strip()}")
    job = json.loads(done.stdout)["jobs"][0]
    way = job["read" if "read" in pattern else "write"]
    cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * way["runtime"] / 1000
    return {"seconds": way["runtime"] / 1000, "operations": way["total_ios"],
            "server_cpu_ns": cpu * 1e9, "driver_cpu_ns": 0}
