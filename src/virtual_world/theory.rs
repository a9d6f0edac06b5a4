//! What mathematics says of a station with random customers, to check the engine against.
//!
//! Customers arrive independently of each other (Poisson) and are served in order of arrival. Times
//! are in mean service times; `load` is arrivals per mean service time, so that a station with `c`
//! servers is overloaded from `load = c`. In Kendall's notation:
//!
//! | function | station |
//! |---|---|
//! | [`erlang_b`] | M/M/c/c: nobody waits, who finds all servers busy is refused |
//! | [`m_m_c`] | exponential service, `c` servers, everybody waits |
//! | [`m_m_c_k`] | the same with room for so many to wait; the others are refused, as by a full queue |
//! | [`m_g_1`] | one server, any service times (Pollaczek–Khinchine) |
//! | [`m_d_1`] | one server, all services equally long |

/// What customers of a station see in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Share of customers that are refused.
    pub refused: f64,
    /// Mean time from arrival to the beginning of service over all that are not refused.
    pub wait: f64,
}

/// The probability that all servers are busy if nobody waits.
///
/// Source: A. K. Erlang, 1917; by the recurrence B(n) = a B(n−1) / (n + a B(n−1)).
pub fn erlang_b(servers: u32, load: f64) -> f64 {
    (1..=servers).fold(1.0, |blocked, n| {
        load * blocked / (f64::from(n) + load * blocked)
    })
}

/// The probability that a customer must wait if everybody waits.
///
/// Source: A. K. Erlang, 1917; from B by C = c B / (c − a (1 − B)).
///
/// # Panics
/// If the station is overloaded: its line grows for ever.
pub fn erlang_c(servers: u32, load: f64) -> f64 {
    let all = f64::from(servers);
    assert!(
        load < all,
        "{servers} servers cannot carry a load of {load}"
    );
    let blocked = erlang_b(servers, load);
    all * blocked / (all - load * (1.0 - blocked))
}

/// `servers` servers, exponential service times, everybody waits.
///
/// # Panics
/// If the station is overloaded.
pub fn m_m_c(servers: u32, load: f64) -> Prediction {
    Prediction {
        refused: 0.0,
        wait: erlang_c(servers, load) / (f64::from(servers) - load),
    }
}

/// `servers` servers, exponential service times, and room for `places` customers to wait.
///
/// From the balance of the states: with `n` customers inside, the next state is as likely as this one
/// times `load / min(n + 1, c)`. What waits on average, divided by the rate of those let in, is the
/// mean wait (Little's law).
pub fn m_m_c_k(servers: u32, places: u32, load: f64) -> Prediction {
    let mut likely = 1.0;
    let (mut total, mut waiting) = (1.0, 0.0);
    for inside in 1..=servers + places {
        likely *= load / f64::from(inside.min(servers));
        total += likely;
        waiting += likely * f64::from(inside.saturating_sub(servers));
    }
    let refused = likely / total;
    Prediction {
        refused,
        wait: waiting / total / (load * (1.0 - refused)),
    }
}

/// One server whose service times have that squared coefficient of variation (variance by squared
/// mean).
///
/// Source: F. Pollaczek, 1930, A. Khinchine, 1932: W = a (1 + v) / (2 (1 − a)) mean service times.
///
/// # Panics
/// If the station is overloaded.
pub fn m_g_1(load: f64, variation_squared: f64) -> Prediction {
    assert!(load < 1.0, "one server cannot carry a load of {load}");
    Prediction {
        refused: 0.0,
        wait: load * (1.0 + variation_squared) / (2.0 * (1.0 - load)),
    }
}

/// One server, all services equally long.
///
/// # Panics
/// If the station is overloaded.
pub fn m_d_1(load: f64) -> Prediction {
    m_g_1(load, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64, within: f64) {
        assert!((left - right).abs() <= within, "{left} is not {right}");
    }

    #[test]
    fn erlang_b_is_what_the_tables_say() {
        near(erlang_b(1, 1.0), 0.5, 1e-15);
        near(erlang_b(2, 1.0), 0.2, 1e-15);
        near(erlang_b(10, 5.0), 0.018_385, 5e-7);
        near(erlang_b(100, 84.064), 0.01, 1e-6);
    }

    #[test]
    fn erlang_c_is_what_the_tables_say() {
        near(erlang_c(1, 0.7), 0.7, 1e-15);
        near(erlang_c(2, 1.0), 1.0 / 3.0, 1e-15);
        near(erlang_c(8, 7.2), 0.701_533, 1e-6);
        near(m_m_c(8, 7.2).wait, 0.876_916, 1e-6);
    }

    #[test]
    fn a_bounded_line_refuses_and_shortens_the_wait() {
        let bounded = m_m_c_k(8, 20, 7.2);
        near(bounded.refused, 0.009_238_1, 1e-7);
        near(bounded.wait, 0.609_022, 1e-6);
        near(m_m_c_k(1, 1, 1.0).refused, 1.0 / 3.0, 1e-15);
    }

    #[test]
    fn the_formulas_meet_where_their_stations_are_the_same() {
        near(m_m_c_k(5, 0, 4.0).refused, erlang_b(5, 4.0), 1e-15);
        near(m_m_c_k(3, 5_000, 2.5).wait, m_m_c(3, 2.5).wait, 1e-9);
        near(m_m_c(1, 0.8).wait, m_g_1(0.8, 1.0).wait, 1e-12);
        near(m_d_1(0.8).wait, m_g_1(0.8, 1.0).wait / 2.0, 1e-12);
        near(m_d_1(0.5).wait, 0.5, 1e-15);
    }

    #[test]
    #[should_panic(expected = "cannot carry")]
    fn an_overloaded_station_has_no_mean_wait() {
        let _ = m_m_c(2, 2.0);
    }
}
