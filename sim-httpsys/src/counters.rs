//! PerfMon counters, folded from facts.
