//! What it costs to carry a request to a worker and its response back, as frames.

use std::hint::black_box;

use criterion::Criterion;
use sim_httpsys::api::wire::{
    Frames, decode_call, decode_completion, encode_call, encode_completion,
};
use sim_httpsys::api::{CachePolicy, Call, Completion, RequestId};

mod stage;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let completion = Completion::Request(stage::Stage::new(true).receive());
    let call = Call::SendResponse {
        request: RequestId(1),
        response: stage::response(CachePolicy::Nocache, true),
        more: false,
    };
    let mut out = Vec::new();
    criterion.bench_function("encode a request", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_completion(black_box(&completion), &mut out);
        });
    });
    let mut frames = Frames::default();
    criterion.bench_function("decode a request", |bencher| {
        bencher.iter(|| {
            frames.buffer.extend_from_slice(&out);
            let frame = frames.next_frame().ok().flatten().expect("a whole frame");
            decode_completion(frame).expect("a frame that was encoded here")
        });
    });
    criterion.bench_function("encode a response of 1 KiB", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_call(black_box(&call), &mut out);
        });
    });
    criterion.bench_function("decode a response of 1 KiB", |bencher| {
        bencher.iter(|| {
            frames.buffer.extend_from_slice(&out);
            let frame = frames.next_frame().ok().flatten().expect("a whole frame");
            decode_call(frame).expect("a frame that was encoded here")
        });
    });
    criterion.final_summary();
}
