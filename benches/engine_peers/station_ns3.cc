// The station in ns-3, on its fastest scheduler: M/M/8 at a load of 90 % with 20 places to wait.
// Prints served, refused, waited (in mean service times), seconds of processor time.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>

#include "ns3/core-module.h"

using namespace ns3;

namespace {

const int64_t SERVICE = 1000000;  // mean service time, ns
const double LOAD = 7.2;
const size_t PLACES = 20;

uint64_t random_state, left_to_come;
int idle = 8;
std::deque<int64_t> waiting;
uint64_t served = 0, refused = 0, waited = 0;

// splitmix64: ns-3's own generator would only make it slower.
double Exponential() {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    z ^= z >> 31;
    return -std::log(((z >> 11) + 1) * (1.0 / 9007199254740992.0));
}

void Done();

void Begin(int64_t wait) {
    served++;
    waited += wait;
    Simulator::Schedule(NanoSeconds(int64_t(SERVICE * Exponential())), &Done);
}

void Done() {
    if (waiting.empty()) {
        idle++;
        return;
    }
    int64_t arrived = waiting.front();
    waiting.pop_front();
    Begin(Simulator::Now().GetNanoSeconds() - arrived);
}

void Arrives() {
    if (idle > 0) {
        idle--;
        Begin(0);
    } else if (waiting.size() < PLACES) {
        waiting.push_back(Simulator::Now().GetNanoSeconds());
    } else {
        refused++;
    }
    if (left_to_come > 0) {
        left_to_come--;
        Simulator::Schedule(NanoSeconds(int64_t(SERVICE / LOAD * Exponential())), &Arrives);
    }
}

}  // namespace

int main(int argc, char** argv) {
    left_to_come = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000;
    random_state = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
    std::clock_t start = std::clock();
    ObjectFactory factory;
    factory.SetTypeId("ns3::PriorityQueueScheduler");
    Simulator::SetScheduler(factory);
    left_to_come--;
    Simulator::Schedule(NanoSeconds(int64_t(SERVICE / LOAD * Exponential())), &Arrives);
    Simulator::Run();
    double took = double(std::clock() - start) / CLOCKS_PER_SEC;
    std::printf("%llu %llu %.17g %.9g\n", (unsigned long long)served, (unsigned long long)refused,
                double(waited) / SERVICE, took);
    Simulator::Destroy();
    return 0;
}
