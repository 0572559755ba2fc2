"""A link to this machine with a round-trip time: python3 link.py ROUND_TRIP_MS [CONNECT_MS [LOST_PERCENT]].

Makes the TUN device `link0` in the network namespace in which it runs, with the address 10.77.0.1. The device sends
each packet to 10.77.0.2 back, half a round trip later and with its addresses exchanged. So a server that listens on
10.77.0.1 is reached at 10.77.0.2, and both ends of the connection see a distant peer. The exchange of the addresses
does not change the checksums. The first packet of each connection waits CONNECT_MS longer. LOST_PERCENT of
all packets get lost. Prints "ready", and runs
until its standard input ends."""

import collections
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
TCP, SYN, ACK = 6, 0x02, 0x10


def is_first_packet(packet):
    """Whether an IPv4 packet asks for a TCP connection."""
    head = (packet[0] & 15) * 4
    return packet[9] == TCP and packet[head + 13] & (SYN | ACK) == SYN


def main():
    one_way = float(sys.argv[1]) / 2000
    connect = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0
    lost = float(sys.argv[3]) / 100 if len(sys.argv) > 3 else 0.0
    chance = random.Random()
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN | IFF_NO_PI))
    for command in ("addr add 10.77.0.1/24 dev link0", "link set link0 up", "link set lo up"):
        subprocess.run(["ip", *command.split()], check=True)
    print("ready", flush=True)
    # Packets in order of their times. Slow first packets have a queue of their own, so that each queue stays in order.
    queues = [collections.deque(), collections.deque()]
    while True:
        due = min((queue[0][0] for queue in queues if queue), default=None)
        patience = None if due is None else max(0.0, due - time.monotonic())
        readable, _, _ = select.select([tun, sys.stdin], [], [], patience)
        if sys.stdin in readable and not os.read(0, 1):
            return
        now = time.monotonic()
        if tun in readable:
            try:
                while True:
                    packet = os.read(tun, 65536)
                    if packet[0] >> 4 == 4 and packet[16:20] == bytes([10, 77, 0, 2]):
                        if lost > 0 and chance.random() < lost:
                            continue
                        is_slow = connect > 0 and is_first_packet(packet)
                        back = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                        queues[is_slow].append((now + one_way + connect * is_slow, back))
            except BlockingIOError:
                pass
        for queue in queues:
            while queue and queue[0][0] <= now:
                os.write(tun, queue.popleft()[1])


main()
