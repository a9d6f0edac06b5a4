//! What was on a connection since its last request ended.

/// Bytes of one request and its answer.
#[derive(Debug, Default)]
pub(super) struct Wire {
    head: Vec<u8>,
    body: u64,
    /// So much of the body before is still to come, and is nobody's.
    drained: u64,
    /// Bytes that the driver has sent.
    pub(super) sent: u64,
}

/// What came of a request: nobody has to read all of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    /// Bytes of its head.
    pub(super) head: u64,
    /// Bytes of its body.
    pub(super) body: u64,
}

impl Came {
    /// Whether so many bytes may be counted for it.
    pub(super) fn allows(self, counted: u64) -> bool {
        (self.head..=self.head + self.body).contains(&counted)
    }
}

impl Wire {
    /// More has come. Says whether any of it is of a request that is to come or is here.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> bool {
        let skipped = usize::try_from(self.drained).unwrap_or(usize::MAX);
        let skipped = skipped.min(bytes.len());
        self.drained -= skipped as u64;
        let bytes = &bytes[skipped..];
        if self.head.ends_with(END) {
            self.body += bytes.len() as u64;
            return !bytes.is_empty();
        }
        self.head.extend_from_slice(bytes);
        let mut ends = self.head.windows(END.len());
        if let Some(before) = ends.position(|end| end == END) {
            let length = before + END.len();
            self.body = (self.head.len() - length) as u64;
            self.head.truncate(length);
        }
        !bytes.is_empty()
    }

    /// Whether the body before is still coming.
    pub(super) fn is_draining(&self) -> bool {
        self.drained > 0
    }

    /// The head of the request, as far as it has come.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What has come of the request.
    pub(super) fn came(&self) -> Came {
        Came {
            head: self.head.len() as u64,
            body: self.body,
        }
    }

    /// The request has ended: what has not come of its body will come yet.
    pub(super) fn next(&mut self) {
        *self = Self {
            drained: self.drained + announced(&self.head).saturating_sub(self.body),
            ..Self::default()
        };
    }
}

const END: &[u8] = b"\r\n\r\n";

/// `Content-Length`
fn announced(head: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(head);
    let length = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse().ok())?
    });
    length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_of_a_body_is_not_the_next_request() {
        let mut wire = Wire::default();
        for piece in ["POST / HTTP/1.1\r\nconte", "nt-length: 5\r\n\r\nab"] {
            wire.receive(piece.as_bytes());
        }
        let came = wire.came();
        assert_eq!((came.head, came.body), (38, 2));
        assert!(came.allows(38) && came.allows(40) && !came.allows(37) && !came.allows(41));
        wire.next();
        wire.receive(b"cdeGET / HTTP/1.1\r\n\r\n");
        assert_eq!(wire.head(), b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(wire.came(), Came { head: 18, body: 0 });
    }
}
