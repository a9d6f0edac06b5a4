//! What it costs to find the URL group of a request, with few sites and with many.

use std::hint::black_box;

use criterion::Criterion;
use sim_httpsys::api::{UrlContext, UrlGroupId};
use sim_httpsys::model::routing::{Registration, Route, RouteBy, RoutingTable};
use sim_httpsys::model::url_prefix::UrlPrefix;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for sites in [1, 1000] {
        let table = table(sites);
        let host = format!("site{}.example", sites / 2);
        let by = RouteBy {
            secure: false,
            port: 80,
            local: None,
            host: &host,
            path: "/shop/articles/default.aspx",
        };
        assert!(matches!(table.route(by), Route::To(_)));
        criterion.bench_function(&format!("route among {sites} sites"), |bencher| {
            bencher.iter(|| table.route(black_box(by)));
        });
    }
    criterion.final_summary();
}

/// Sites by host name, each with an application below its root.
fn table(sites: u64) -> RoutingTable {
    let mut table = RoutingTable::default();
    for site in 0..sites {
        for path in ["/", "/shop/"] {
            let url = format!("http://site{site}.example:80{path}");
            let prefix = UrlPrefix::parse(&url).expect("a well-formed prefix");
            let to = Registration {
                group: UrlGroupId(site),
                context: UrlContext(site),
            };
            table.add(prefix, to).expect("a prefix that is new");
        }
    }
    table
}
