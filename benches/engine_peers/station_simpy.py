"""The station in SimPy, as SimPy's own tutorial writes one: a process for each customer, a Resource.

M/M/8 at a load of 90 % with 20 places to wait. Prints served, refused, waited (in mean service times),
seconds of processor time.
"""

import random
import sys
import time

import simpy

LOAD = 7.2
SERVERS = 8
PLACES = 20

served = refused = 0
waited = 0.0


def customer(env, servers, exponential):
    global served, waited
    arrived = env.now
    with servers.request() as turn:
        yield turn
        served += 1
        waited += env.now - arrived
        yield env.timeout(exponential(1.0))


def arrivals(env, servers, customers, exponential):
    global refused
    for _ in range(customers):
        yield env.timeout(exponential(LOAD))
        if len(servers.queue) >= PLACES:
            refused += 1
        else:
            env.process(customer(env, servers, exponential))


def main():
    customers, seed = int(sys.argv[1]), int(sys.argv[2])
    start = time.process_time()
    dice = random.Random(seed)
    env = simpy.Environment()
    servers = simpy.Resource(env, capacity=SERVERS)
    env.process(arrivals(env, servers, customers, dice.expovariate))
    env.run()
    print(served, refused, waited, time.process_time() - start)


main()
