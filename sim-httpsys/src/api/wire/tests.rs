//! Whatever is sent is read back; whatever arrives never panics.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::api::{
    ControlCall, DisabledReason, QueueState, RequestQueueProperties, ResponseVerbosity,
    SharedRequest, UrlGroupId,
};

fn one_frame(bytes: &[u8]) -> Bytes {
    let mut frames = Frames {
        buffer: BytesMut::from(bytes),
    };
    let frame = frames
        .next_frame()
        .unwrap()
        .expect("a whole frame was written");
    assert!(frames.buffer.is_empty());
    frame
}

fn call_again(call: &Call) -> Call {
    let mut out = Vec::new();
    encode_call(call, &mut out);
    decode_call(one_frame(&out)).unwrap()
}

fn completion_again(completion: &Completion) -> Completion {
    let mut out = Vec::new();
    encode_completion(completion, &mut out);
    decode_completion(one_frame(&out)).unwrap()
}

/// Calls and completions have no equality of their own; their debug text says everything.
fn same(left: &impl std::fmt::Debug, right: &impl std::fmt::Debug) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into()),
        any::<([u8; 16], u16, u32, u32)>().prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(
            ip.into(),
            port,
            flow,
            scope
        )
        .into()),
    ]
}

fn text() -> impl Strategy<Value = RequestText> {
    let spans = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 5..30);
    (bytes().prop_map(Vec::from), spans).prop_map(|(text, spans)| {
        let spans: Vec<Span> = spans
            .into_iter()
            .map(|(start, length)| {
                let start = start.index(text.len() + 1);
                Span::new(start, text.len().min(start + usize::from(length)))
            })
            .collect();
        RequestText {
            text,
            verb: spans[0],
            raw_url: spans[1],
            path: spans[2],
            query: spans[3],
            host: spans[4],
            headers: spans[5..]
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect(),
        }
    })
}

fn request() -> impl Strategy<Value = Request> {
    let entity = prop_oneof![
        Just(EntityLength::None),
        Just(EntityLength::Chunked),
        (1..=u64::MAX).prop_map(EntityLength::Known),
    ];
    let numbers = any::<(u64, u64, u64, u32, u64, u64, bool, bool)>();
    (numbers, address(), address(), entity, text()).prop_map(
        |(
            (id, connection, activity, site, context, at, secure, old),
            client,
            local,
            entity,
            text,
        )| {
            Request {
                id: RequestId(id),
                connection: ConnectionId(connection),
                activity: ActivityId(activity),
                site: SiteId(site),
                url_context: UrlContext(context),
                ends: ShortEnds::new(Ends { client, local }),
                secure,
                version: if old {
                    Version::Http10
                } else {
                    Version::Http11
                },
                received: Instant(at),
                entity,
                text,
            }
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    let policy = prop_oneof![
        Just(CachePolicy::Nocache),
        Just(CachePolicy::UserInvalidates),
        any::<u32>().prop_map(CachePolicy::TimeToLive),
    ];
    let log = prop::option::of(any::<(u16, u32, bool, bool)>());
    (100_u16..1000, bytes(), bytes(), policy, log, any::<bool>()).prop_map(
        |(status, headers, body, cache_policy, log, disconnect)| Response {
            status,
            headers,
            body,
            cache_policy,
            log: log.map(|(substatus, win32_status, is_file, is_unlogged)| LogData {
                substatus,
                win32_status,
                is_file,
                is_unlogged,
            }),
            disconnect,
        },
    )
}

fn control() -> impl Strategy<Value = ControlCall> {
    (any::<String>(), any::<u32>(), any::<u64>()).prop_flat_map(|(name, length, id)| {
        let queue = RequestQueueName(name.clone());
        let properties = RequestQueueProperties {
            length,
            verbosity: ResponseVerbosity::Limited,
            state: QueueState::Inactive(DisabledReason::AppOffline),
        };
        prop_oneof![
            Just(ControlCall::CreateRequestQueue {
                name: queue.clone(),
                properties
            }),
            Just(ControlCall::AddUrl {
                group: UrlGroupId(id),
                url: name,
                context: UrlContext(id)
            }),
            Just(ControlCall::OpenRequestQueue { name: queue }),
            Just(ControlCall::QueryServiceState),
            Just(ControlCall::QueryCounters),
            Just(ControlCall::ShutdownRequestQueue),
        ]
    })
}

proptest! {
    #[test]
    fn every_call_is_read_back(
        id in any::<u32>(), request in any::<u64>().prop_map(RequestId), credits in any::<u32>(),
        call in control(), response in response(), body in bytes(), more in any::<bool>(),
    ) {
        for call in [
            Call::Control { id: CallId(id), call },
            Call::ReceiveRequest { credits },
            Call::SendResponse { request, response, more },
            Call::SendEntityBody { request, body, more },
            Call::ReceiveEntityBody { request },
            Call::CancelRequest { request },
        ] {
            same(&call_again(&call), &call);
        }
    }

    #[test]
    fn every_completion_is_read_back(
        id in any::<u32>(), request in request(), bytes in bytes(), last in any::<bool>(),
        name in any::<String>(),
    ) {
        let whose = request.id;
        for completion in [
            Completion::Called { id: CallId(id), result: Ok(CallResult::ServiceState(Box::default())) },
            Completion::Called { id: CallId(id), result: Err(Win32Error::AlreadyExists) },
            Completion::Request(SharedRequest::new(request)),
            Completion::EntityBody { request: whose, bytes, last },
            Completion::Disconnected { request: whose },
            Completion::DemandStart { queue: RequestQueueName(name) },
            Completion::Untrusted { process: ProcessId(7) },
        ] {
            same(&completion_again(&completion), &completion);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(kind in 0_u8..40, rest in bytes()) {
        let mut frame = vec![kind];
        frame.extend_from_slice(&rest);
        let _ = decode_call(frame.clone().into());
        let _ = decode_completion(frame.into());
    }

    #[test]
    fn a_damaged_request_is_refused_or_safe_to_index(
        request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut out = Vec::new();
        encode_completion(&Completion::Request(SharedRequest::new(request)), &mut out);
        let mut frame = out.split_off(4);
        let at = at.index(frame.len());
        frame[at] = byte;
        frame.truncate(1 + cut.index(frame.len()));
        if let Ok(Completion::Request(request)) = decode_completion(frame.into()) {
            let text = &request.text;
            for span in text.headers.iter().flat_map(|&(name, value)| [name, value]) {
                assert_eq!(text.bytes(span).len(), span.len as usize);
            }
            for span in [text.verb, text.raw_url, text.path, text.query, text.host] {
                assert_eq!(text.bytes(span).len(), span.len as usize);
            }
        }
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_was_cut(
        bodies in prop::collection::vec(bytes(), 1..6), piece in 1_usize..50,
    ) {
        let mut stream = Vec::new();
        for body in &bodies {
            write_frame(&mut stream, |out| out.extend_from_slice(body));
        }
        let (mut frames, mut taken) = (Frames::default(), Vec::new());
        for piece in stream.chunks(piece) {
            frames.buffer.extend_from_slice(piece);
            while let Some(frame) = frames.next_frame().unwrap() {
                taken.push(frame);
            }
        }
        assert_eq!(taken, bodies);
    }
}

#[test]
fn a_frame_with_something_after_its_end_is_malformed() {
    let mut out = Vec::new();
    encode_call(&Call::ReceiveRequest { credits: 1 }, &mut out);
    let mut frame = out.split_off(4);
    frame.push(0);
    assert_eq!(decode_call(frame.into()).unwrap_err(), WireError::Malformed);
}

#[test]
fn an_absurd_length_is_refused_before_it_is_waited_for() {
    let mut frames = Frames {
        buffer: BytesMut::from(&[0xff; 8][..]),
    };
    assert_eq!(frames.next_frame(), Err(WireError::TooLong(0xffff_ffff)));
}
