"""Many guests with all kinds of devices on the mock Xen, for a long time, with everything that goes
wrong in the life of a host: guests that are killed, reset, rebooted or hostile, devices that are taken
away, calls of Xen that fail, a daemon that dies.

Each guest has a disk, entropy, a network interface on a bridge, and a console with a program of the
host at its other end. Data that is not what was written or sent is a failure whenever it happens.
Requests may fail, but only while something goes wrong; in the quiet at the end every guest is served,
the daemon ends in order, and nobody holds anything. Its memory with all guests gone is at the end what
it was when the second half began: with guests it goes up and down by megabytes, by what they have just
connected and what the queues of those that were killed still hold.

Python and not a shell: half an hour of this makes more processes than there are process ids, and bash
takes the end of one for that of another then.
"""
import argparse
import collections
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BACKEND = 900  # a driver domain: only the daemon's calls are made to fail
DISK_BYTES = 256 << 10
CONSOLE_BYTES = 20_000
MOST_GROWTH = 4096  # kB
# What a guest does with its devices before a daemon has what it needs for it.
WARM_UP = 3
MISMATCH = 3  # the exit code of a bystander that got entropy that cannot be
PATIENCE = 20
# A program that takes longer than this hangs; all of them have patience of their own.
ENDLESS = 180
# Faults that end a bus or a device, not the daemon.
FAULTS = ("xengnttab_map_domain_grant_refs", "xengnttab_grant_copy", "xengnttab_grant_copy_segment",
          "xenevtchn_bind_interdomain", "xenevtchn_notify", "xs_write", "xs_transaction_end")
EVENTS = ("disks", "entropies", "networks", "consoles", "interruptions", "attacks", "detaches", "reboots",
          "faults", "deaths", "mismatches")


def wait_for(condition, seconds, pause=0.1):
    """Whether it held before the time was over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("build")
    parser.add_argument("seconds", type=int)
    parser.add_argument("guests", type=int, nargs="?", default=32)
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--bridge-address", required=True)
    return parser.parse_args()


class Host:
    """The mock Xen, the daemon in its driver domain, and what is counted."""

    def __init__(self, options):
        self.options = options
        self.build = os.path.abspath(options.build)
        self.folder = tempfile.mkdtemp(prefix="vmsg-soak.")
        self.counts = collections.Counter()
        self.said = {}
        self.lock = threading.Lock()
        self.failures = 0
        self.may_play = threading.Event()
        self.may_play.set()
        self.resting = 0
        self.env = dict(os.environ, XEN_MOCK=self.file("xen"))
        self.env["PATH"] = os.pathsep.join(
            [os.path.join(self.build, "bin"), os.path.join(self.build, "hostile"), self.env["PATH"]])
        self.daemon_log = open(self.file("vmsgd.log"), "ab")
        # A driver domain owns all that is in xenstore of the guests that it serves, and xenstored lets a
        # domain have 1000 nodes unless it is told otherwise: some 25 guests like these.
        entries = max(1000, 60 * options.guests)
        self.broker = subprocess.Popen(
            ["xen-mock", "serve", "--socket", self.env["XEN_MOCK"], "--entry-nb", str(entries)],
            env=self.env, stdout=subprocess.PIPE)
        if not self.broker.stdout.readline():
            sys.exit("the mock's broker does not come up")
        self.mock("domain", "create", "--driver-domain", str(BACKEND))
        self.daemon = None
        self.start_daemon()

    def file(self, name):
        return os.path.join(self.folder, name)

    def count(self, event):
        with self.lock:
            self.counts[event] += 1

    def complain(self, words):
        with self.lock:
            self.failures += 1
            print(f"FAIL: {words}", flush=True)

    def tell(self, words):
        with self.lock:
            print(", ".join(f"{self.counts[event]} {event}" for event in EVENTS) + f", {words}", flush=True)

    # ---- what is said on consoles

    def remember(self, what, data):
        """The last and the last but one of each."""
        with self.lock:
            self.said[what] = (data, self.said.get(what, (b"",))[0])

    def difference(self, found, data):
        """In words; whose the bytes are that should not be there, if anybody's."""
        at = next((i for i, (one, other) in enumerate(zip(found, data)) if one != other),
                  min(len(found), len(data)))
        words = f"{len(found)} bytes for {len(data)}, different from byte {at} on"
        strange = found[at:at + 16]
        with self.lock:
            owners = [what for what, lately in self.said.items() if strange and any(strange in one for one in lately)]
        return f"{words}, which is {' or '.join(owners) or 'nothing'} that was said lately"

    # ---- programs

    def in_domain(self, domain):
        return dict(self.env, XEN_MOCK_DOMID=str(domain), VMSG_SOCKET=self.file(f"vmsgd-{domain}.sock"),
                    LD_LIBRARY_PATH=os.path.join(self.build, "mock-xen"))

    def start(self, domain, *command, **how):
        return subprocess.Popen(command, env=self.in_domain(domain), **how)

    def run(self, domain, *command, **how):
        """(exit code, what it printed); a program that hangs is ended, and a failure."""
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | how
        with self.start(domain, *command, **how) as process:
            try:
                said = process.communicate(timeout=ENDLESS)[0] or b""
            except subprocess.TimeoutExpired:
                process.kill()
                self.complain(f"domain {domain}: {' '.join(command)}: does not end")
                return 1, ""
            return process.returncode, said.decode(errors="replace")

    def mock(self, *command):
        return self.run(0, "xen-mock", *command)

    # ---- the daemon

    def uses(self):
        with self.lock:
            return sum(self.counts[event] for event in ("disks", "entropies", "networks", "consoles"))

    def start_daemon(self):
        self.uses_before = self.uses()
        # What is freed goes back at once: what is left is what the daemon holds, not what its allocator keeps.
        self.daemon = subprocess.Popen(
            ["vmsgd", "--workers", "2"], stderr=self.daemon_log,
            env=dict(self.in_domain(BACKEND), MALLOC_ARENA_MAX="1", MALLOC_TRIM_THRESHOLD_="0",
                     MALLOC_MMAP_THRESHOLD_="16384"))

    def is_daemon_warm(self):
        return self.uses() - self.uses_before >= WARM_UP * self.options.guests

    def daemon_memory(self):
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    # ---- a moment without guests

    def rest(self):
        """Called by a guest that is gone, and may come back when this returns."""
        with self.lock:
            self.resting += 1
        self.may_play.wait()
        with self.lock:
            self.resting -= 1

    def memory_without_guests(self, guests):
        """Once those that are played have gone; nothing if the daemon is gone as well."""
        self.may_play.clear()
        wait_for(lambda: self.resting >= sum(guest.is_alive() for guest in guests), ENDLESS)
        try:
            if not wait_for(lambda: is_empty(self), PATIENCE):
                self.complain("guests are gone, and something of them is left in xenstore")
            return self.daemon_memory()
        except (OSError, StopIteration):
            return None
        finally:
            self.may_play.set()

    def close(self):
        for process in (self.daemon, self.broker):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self.daemon_log.close()
        shutil.copy(self.file("vmsgd.log"), os.path.join(self.build, "hostile", "soak-vmsgd.log"))
        shutil.rmtree(self.folder, ignore_errors=True)


class Guest(threading.Thread):
    """One guest's life, and what its owner does to it from domain 0."""

    def __init__(self, host, number, adversaries):
        super().__init__(daemon=True)
        self.host = host
        self.number = number
        self.adversaries = adversaries
        self.random = random.Random(number)
        self.is_console_interrupted = False
        self.said = ""  # by the last program of the guest's that failed
        self.host.mock("domain", "create", str(number))
        with open(self.file("disk"), "wb") as disk:
            disk.truncate(DISK_BYTES)
        self.specs = {"rng": "type=rng",
                      "blk": f"type=blk,target={self.file('disk')}",
                      "net": f"type=net,bridge={host.options.bridge}",
                      "console": f"type=console,link={self.file('tty')}"}
        self.deadline = time.monotonic() + host.options.seconds

    def file(self, name):
        return self.host.file(f"{name}{self.number}")

    def mismatch(self, words):
        self.host.count("mismatches")
        self.host.complain(f"guest {self.number}: {words}")

    def inside(self, *command, **how):
        """Runs a program in the guest: whether all went well."""
        code, said = self.host.run(self.number, *command, **how)
        if code != 0:
            self.said = said
        return code == 0

    # ---- its devices

    def devices(self):
        """The number of the device of each type."""
        code, said = self.host.run(0, "vmsg", "list", "--json", str(self.number), stderr=subprocess.DEVNULL)
        if code != 0:
            return {}
        return {device["type"]: device["device"] for device in json.loads(said)}

    def attach(self):
        """All that are missing."""
        there = self.devices()
        for kind, spec in self.specs.items():
            if kind not in there:
                self.host.run(0, "vmsg", "attach", "--timeout", "5", str(self.number), f"{spec},backend={BACKEND}")

    def detach(self, kind):
        number = self.devices().get(kind)
        if number is not None:
            self.host.run(0, "vmsg", "detach", "--force", str(self.number), str(number))

    # ---- what it does

    def use_disk(self):
        data = self.random.randbytes(DISK_BYTES)
        with open(self.file("data"), "wb") as file:
            file.write(data)
        for way, file in ("write", "data"), ("read", "found"):
            if not self.inside("vmsg-guest", "--timeout", "5", "blk", way, "--file", self.file(file)):
                return False
        with open(self.file("found"), "rb") as file:
            if file.read() != data:
                self.mismatch("what was read from the disk is not what was written")
        self.host.count("disks")
        return True

    def use_entropy(self, end=signal.SIGTERM):
        """For a second."""
        reader = self.host.start(self.number, "vmsg-adversary", "--patience", "5", "--device",
                                 str(self.devices().get("rng", 0)), "bystander",
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with reader:
            try:
                reader.wait(1)
            except subprocess.TimeoutExpired:
                reader.send_signal(end)
            try:
                code = reader.wait(ENDLESS)
            except subprocess.TimeoutExpired:
                reader.kill()
                self.host.complain(f"guest {self.number}: a reader of entropy does not end")
                return False
        if code == MISMATCH:
            self.mismatch("entropy that cannot be")
        if code not in (0, -end):
            return False
        self.host.count("entropies")
        return True

    def use_network(self):
        """The host sends back what it gets."""
        is_well = self.inside("vmsg-guest", "--timeout", "5", "net", "ping", "--address",
                              f"10.9.0.{10 + self.number}", "--peer", self.host.options.bridge_address,
                              "--count", "20", "--size", "1372", "--seed", str(self.random.randrange(1 << 31)))
        if not is_well:
            if "other data" in self.said:
                self.mismatch(f"the network: {self.said.splitlines()[-1]}")
            return False
        self.host.count("networks")
        return True

    def use_console(self):
        """Both ends send at the same time. After an exchange that was interrupted some of it is still under
        way, so that the next one has to have a console of its own."""
        if self.is_console_interrupted:
            self.detach("console")
            if "console" in self.devices():
                return False
            self.is_console_interrupted = False
            self.attach()
        down, up = self.random.randbytes(CONSOLE_BYTES), self.random.randbytes(CONSOLE_BYTES)
        for name, data in ("down", down), ("up", up):
            with open(self.file(name), "wb") as file:
                file.write(data)
            self.host.remember(f"guest {self.number}'s {name}", data)
        self.is_console_interrupted = True
        other_end = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "..", "daemon", "console-host-end"), self.file("tty"),
             self.file("down"), self.file("up-got"), str(CONSOLE_BYTES)], stderr=subprocess.DEVNULL)
        with open(self.file("up"), "rb") as source, open(self.file("down-got"), "wb") as target, other_end:
            is_well = self.inside("vmsg-guest", "--timeout", "5", "console", "--pipe", "--greeted", "--receive",
                                  str(CONSOLE_BYTES), stdin=source, stdout=target, stderr=subprocess.DEVNULL)
            if not is_well:
                other_end.kill()
            is_well = other_end.wait() == 0 and is_well
        if not is_well:
            return False
        for name, data, who in ("down-got", down, "guest"), ("up-got", up, "host"):
            with open(self.file(name), "rb") as file:
                heard = file.read()
            if heard != data:
                self.mismatch(f"what the {who} heard on the console is not what was said: "
                              f"{self.host.difference(heard, data)}")
        self.is_console_interrupted = False
        self.host.count("consoles")
        return True

    # ---- what is done to it

    def lose_device(self):
        self.detach(self.random.choice(("rng", "net", "console")))
        self.host.count("detaches")

    def die_while_disk_goes(self):
        reader = self.host.start(self.number, "vmsg-guest", "--timeout", "5", "rng", "--bytes", "100000000",
                                 "--output", "/dev/null", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with reader:
            self.detach("blk")
            reader.kill()
        self.host.count("detaches")

    def go(self):
        self.host.mock("domain", "destroy", str(self.number))

    def come_back(self):
        # Its number is free when nobody holds anything of it any more.
        if not wait_for(lambda: self.host.mock("domain", "create", str(self.number))[0] == 0, ENDLESS, pause=1):
            self.host.complain(f"guest {self.number} is gone, and something of it is held")

    def reboot(self):
        self.go()
        self.come_back()
        self.host.count("reboots")

    def attack(self):
        self.host.run(self.number, "vmsg-adversary", "--patience", "3", "--effort", "50", "--device",
                      str(self.devices().get("rng", 0)), "run", "--other", "0", self.random.choice(self.adversaries))
        self.host.count("attacks")

    def run(self):
        try:
            self.live()
        except Exception as error:  # ours, whatever it is: a guest that is not played finds nothing
            self.host.complain(f"guest {self.number} is not played any more: {error!r}")

    def live(self):
        uses = ([self.use_disk] * 4 + [self.use_entropy] * 2 + [lambda: self.use_entropy(signal.SIGKILL)] +
                [self.use_network] * 2 + [self.use_console] * 2)
        blows = [self.lose_device, self.die_while_disk_goes, self.reboot, self.attack, self.attack]
        while time.monotonic() < self.deadline:
            if not self.host.may_play.is_set():
                self.go()
                self.host.rest()
                self.come_back()
            self.attach()
            what = self.random.choice(uses + blows)
            if what in blows:
                what()
            elif not what():
                self.host.count("interruptions")
        self.go()

    def must_be_served(self):
        self.come_back()
        self.attach()
        for use in self.use_disk, self.use_network, self.use_console:
            if use():
                continue
            self.host.complain(f"guest {self.number} is not served in the end ({use.__name__}): {self.said}")
            for command in (("vmsg", "list", str(self.number)),
                            ("xenstore-ls", "-f", "-p", f"/local/domain/{BACKEND}/backend/virtio-msg/{self.number}"),
                            ("xenstore-ls", "-f", "-p", f"/local/domain/{self.number}/device/virtio-msg")):
                print(self.host.run(0, *command)[1])
        self.go()


def trouble(host, guests):
    """The main loop: what happens to the host, until the time is over. The daemon's memory at the
    beginning of the second half; none when it has not done enough to tell."""
    seconds = host.options.seconds
    chance = random.Random(1)
    began = time.monotonic()
    told_at = began
    at_half_time = None
    is_half_time = False
    while (now := time.monotonic()) < began + seconds:
        if now - told_at >= 60:
            told_at = now
            host.tell(f"{now - began:.0f} of {seconds} s")
        try:
            code = host.daemon.wait(1)
            # 1: Xen failed it, and it says so. Anything else is ours.
            if code != 1:
                host.complain(f"the daemon ended with {code}")
            host.count("deaths")
            host.start_daemon()
            at_half_time = None
        except subprocess.TimeoutExpired:
            pass
        # The second half is about memory: nobody kills the daemon any more.
        if now < began + seconds / 2:
            host.mock("fail", chance.choice(FAULTS), "--nth", str(1 + chance.randrange(20)), "--errno", "EIO",
                      "--domain", str(BACKEND))
            host.count("faults")
            if chance.randrange(20) == 0:
                host.daemon.kill()
                host.daemon.wait()
                host.count("deaths")
                host.start_daemon()
        elif not is_half_time:
            is_half_time = True
            host.mock("fail", "--clear")
        elif at_half_time is None and host.is_daemon_warm():
            at_half_time = host.memory_without_guests(guests)
    return at_half_time


def is_empty(host):
    return not re.search(r"virtio-msg/[0-9]", host.run(0, "xenstore-ls", "-f", "/")[1])


def soak(host):
    adversaries = [line.split()[0] for line in host.run(0, "vmsg-adversary", "list")[1].splitlines()]
    guests = [Guest(host, number, adversaries) for number in range(1, host.options.guests + 1)]
    for guest in guests:
        guest.start()
    at_half_time = trouble(host, guests)
    host.mock("fail", "--clear")
    for guest in guests:
        guest.join()

    if host.daemon.poll() is not None:
        host.complain(f"the daemon ended with {host.daemon.returncode}")
        host.start_daemon()
    at_end = host.memory_without_guests(guests)
    if at_half_time is None:
        print(f"memory: {at_end} kB; too short a time to say whether it grows")
    else:
        print(f"memory: {at_half_time} kB at half time, {at_end} kB at the end")
        if at_end - at_half_time > MOST_GROWTH:
            host.complain(f"{at_end - at_half_time} kB more")
    for guest in guests:
        guest.must_be_served()
    if not wait_for(lambda: is_empty(host), PATIENCE):
        host.complain("something is left in xenstore")
    host.daemon.terminate()
    try:
        if host.daemon.wait(ENDLESS) != 0:
            host.complain(f"the daemon's exit code is {host.daemon.returncode}")
    except subprocess.TimeoutExpired:
        host.complain("the daemon does not end")
    code, said = host.mock("leaks", str(BACKEND))
    if code != 0:
        host.complain(f"something is held: {said}")


def main():
    options = arguments()
    began = time.monotonic()
    host = Host(options)
    try:
        soak(host)
        host.tell(f"{host.failures} failures in {time.monotonic() - began:.0f} s with {options.guests} guests")
    finally:
        host.close()
    return 0 if host.failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
