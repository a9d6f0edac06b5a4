"""The web server of full-model.toml in SimPy, in its normal style: a process for each kept-alive client.

Closed loop of 1,000 clients with exponential think times, 10,000 requests a second; of these 62 % ask for
one of 1,000 static files (Zipf), which the kernel cache keeps for 120 s, the others for a page of one of
four pools: a bounded queue of 1,000, then 64 threads of a worker with a cache of its own. A hop between
driver and worker, service, send. What our model has beside it (protocol, connections' timers, health,
logs, counters, checks) is left out here, in SimPy's favour.

Arguments: virtual seconds, seed. Prints requests, the share of hits, refused, seconds of processor time.
"""

import bisect
import itertools
import random
import sys
import time

import simpy

CLIENTS, RATE = 1000, 10_000.0
STATIC_SHARE, FILES, ZIPF, TTL = 0.62, 1000, 0.9, 120.0
POOLS, QUEUE, THREADS = 4, 1000, 64
HOP, CLIENT_HOP, SEND = 12e-6, 25e-6, 20e-6
SERVICE_WARM, SERVICE_COLD, KEYS = 300e-6, 2.3e-3, 40

requests = hits = refused = 0


class Pool:
    def __init__(self, env):
        self.threads = simpy.Resource(env, capacity=THREADS)
        self.cache = set()


def worker(env, pool, dice, key):
    """The part of a request that a worker does; False if the queue is full."""
    if len(pool.threads.queue) >= QUEUE:
        return False
    with pool.threads.request() as thread:
        yield thread
        yield env.timeout(HOP)
        warm = key in pool.cache
        yield env.timeout(dice.expovariate(1.0) * (SERVICE_WARM if warm else SERVICE_COLD))
        pool.cache.add(key)
    yield env.timeout(HOP)
    return True


def client(env, pools, kernel_cache, popularity, dice):
    global requests, hits, refused
    think = CLIENTS / RATE
    while True:
        yield env.timeout(dice.expovariate(1.0) * think)
        yield env.timeout(CLIENT_HOP)
        if dice.random() < STATIC_SHARE:
            url = bisect.bisect(popularity, dice.random())
            if kernel_cache.get(url, 0.0) > env.now:
                hits += 1
            else:
                pool = pools[0]
                if (yield from worker(env, pool, dice, url)):
                    kernel_cache[url] = env.now + TTL
                else:
                    refused += 1
        else:
            pool = pools[dice.randrange(POOLS)]
            if not (yield from worker(env, pool, dice, FILES + dice.randrange(KEYS))):
                refused += 1
        yield env.timeout(SEND + CLIENT_HOP)
        requests += 1


def main():
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    start = time.process_time()
    dice = random.Random(seed)
    env = simpy.Environment()
    pools = [Pool(env) for _ in range(POOLS)]
    weights = [1.0 / (n + 1) ** ZIPF for n in range(FILES)]
    total = sum(weights)
    popularity = [w / total for w in itertools.accumulate(weights)]
    kernel_cache = {}
    for _ in range(CLIENTS):
        env.process(client(env, pools, kernel_cache, popularity, dice))
    env.run(until=seconds)
    print(requests, hits / requests, refused, time.process_time() - start)


main()
