//! Frames (RFC 6455, section 5), without I/O: [`Decoder`] reads what a client sends, [`head`] begins
//! what a server sends.
//!
//! Messages of this protocol may be cut anywhere, so a frame's payload is handed on as it arrives and
//! never waits in memory for its end. That also bounds what a frame can cost, however long it is.

use bytes::{Buf, Bytes, BytesMut};

use super::utf8::Utf8;

/// Close codes.
pub(crate) const NORMAL: u16 = 1000;
pub(crate) const PROTOCOL_ERROR: u16 = 1002;
pub(crate) const INVALID_DATA: u16 = 1007;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// The longest payload of a control frame.
const CONTROL_MAX: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        [
            Self::Continuation,
            Self::Text,
            Self::Binary,
            Self::Close,
            Self::Ping,
            Self::Pong,
        ]
        .into_iter()
        .find(|opcode| *opcode as u8 == bits)
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// What a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A piece of a data frame.
    Data(Bytes),
    Ping(Bytes),
    Pong,
    Close,
}

/// The client does not speak WebSocket: the code to close with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) u16);

/// Reads a client's frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    frame: Option<Open>,
    message: Option<Message>,
}

/// A frame of which the head was read.
#[derive(Clone, Copy, Debug)]
struct Open {
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    remaining: u64,
}

/// A data message that has begun.
#[derive(Debug)]
enum Message {
    Text(Utf8),
    Binary,
}

impl Decoder {
    /// Where to put what arrives.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next event; `None` if more has to arrive first.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.take_head()? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            self.frame = Some(frame);
            if frame.opcode.is_control() {
                return self.take_control(frame);
            }
            // An empty frame has nothing to hand on, but it may end a message.
            match self.take_data(frame)? {
                Some(data) if data.is_empty() => {}
                Some(data) => return Ok(Some(Event::Data(data))),
                None => return Ok(None),
            }
        }
    }

    fn take_head(&mut self) -> Result<Option<Open>, Violation> {
        let wrong = Violation(PROTOCOL_ERROR);
        let [first, second, ..] = self.buffer[..] else {
            return Ok(None);
        };
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(wrong)?;
        let fin = first & FIN != 0;
        // No extension was negotiated, and every frame of a client is masked (section 5.1).
        if first & RESERVED != 0 || second & MASKED == 0 || (opcode.is_control() && !fin) {
            return Err(wrong);
        }
        let mut rest = &self.buffer[2..];
        let length = match second & !MASKED {
            126 => rest.try_get_u16().map(u64::from),
            127 => rest.try_get_u64(),
            short => Ok(u64::from(short)),
        };
        let (Ok(remaining), Some(mask)) = (length, rest.first_chunk()) else {
            return Ok(None);
        };
        let mask = *mask;
        if remaining > i64::MAX as u64 || (opcode.is_control() && remaining > CONTROL_MAX) {
            return Err(wrong);
        }
        let size = self.buffer.len() - rest.len() + mask.len();
        self.buffer.advance(size);
        match (opcode, &self.message) {
            (Opcode::Text, None) => self.message = Some(Message::Text(Utf8::default())),
            (Opcode::Binary, None) => self.message = Some(Message::Binary),
            (Opcode::Continuation, Some(_)) => {}
            // The frames of a message follow each other.
            _ if !opcode.is_control() => return Err(wrong),
            _ => {}
        }
        Ok(Some(Open {
            opcode,
            fin,
            mask,
            remaining,
        }))
    }

    fn take_control(&mut self, frame: Open) -> Result<Option<Event>, Violation> {
        let Ok(size) = usize::try_from(frame.remaining) else {
            return Err(Violation(PROTOCOL_ERROR));
        };
        if self.buffer.len() < size {
            return Ok(None);
        }
        let mut payload = self.buffer.split_to(size);
        unmask(&mut payload, frame.mask);
        self.frame = None;
        Ok(Some(match frame.opcode {
            Opcode::Ping => Event::Ping(payload.freeze()),
            Opcode::Pong => Event::Pong,
            // A code has two bytes.
            _ if payload.len() == 1 => return Err(Violation(PROTOCOL_ERROR)),
            _ => Event::Close,
        }))
    }

    /// What has arrived of a data frame; `None` if that is nothing.
    fn take_data(&mut self, mut frame: Open) -> Result<Option<Bytes>, Violation> {
        let size = usize::try_from(frame.remaining)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        if size == 0 && frame.remaining > 0 {
            return Ok(None);
        }
        let mut data = self.buffer.split_to(size);
        unmask(&mut data, frame.mask);
        frame.mask.rotate_left(size % 4);
        frame.remaining -= size as u64;
        let ended = frame.remaining == 0;
        self.frame = (!ended).then_some(frame);
        if let Some(Message::Text(utf8)) = &mut self.message {
            utf8.check(&data, ended && frame.fin)
                .map_err(|_| Violation(INVALID_DATA))?;
        }
        if ended && frame.fin {
            self.message = None;
        }
        Ok(Some(data.freeze()))
    }
}

fn unmask(data: &mut [u8], mask: [u8; 4]) {
    // Eight bytes at a time, so that the compiler needs no help.
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (chunks, rest) = data.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The head of a whole message that a server sends in one frame.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the length fits where it is written"
)]
pub(crate) fn head(opcode: Opcode, length: usize) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = FIN | opcode as u8;
    let size = match length {
        0..=125 => {
            head[1] = length as u8;
            2
        }
        126..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (head, size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [7, 0, 255, 3];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mut head, size) = head(Opcode::Binary, payload.len());
        (head[0], head[1]) = (first, head[1] | MASKED);
        let mut payload = payload.to_vec();
        unmask(&mut payload, MASK);
        [&head[..size], &MASK, &payload].concat()
    }

    fn decode(bytes: &[u8], piece: usize) -> (Vec<Event>, Option<Violation>) {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            decoder.buffer().extend_from_slice(piece);
            loop {
                match decoder.next() {
                    Ok(Some(Event::Data(data))) => match events.last_mut() {
                        Some(Event::Data(so_far)) => {
                            *so_far = [&so_far[..], &data].concat().into();
                        }
                        _ => events.push(Event::Data(data)),
                    },
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(violation) => return (events, Some(violation)),
                }
            }
        }
        (events, None)
    }

    #[test]
    fn frames_of_every_length_are_read() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let payload = vec![b'x'; length];
            let bytes = [frame(0x82, &payload), frame(0x89, b"ping")].concat();
            let mut expected = vec![Event::Data(payload.into()), Event::Ping("ping".into())];
            if length == 0 {
                expected.remove(0);
            }
            assert_eq!(decode(&bytes, usize::MAX), (expected, None), "{length}");
        }
    }

    #[test]
    fn control_frames_may_stand_within_a_message() {
        let bytes = [
            frame(0x01, b"a"),
            frame(0x8a, b""),
            frame(0x80, b"b"),
            frame(0x88, b"\x03\xe8bye"),
        ];
        let expected = vec![
            Event::Data("a".into()),
            Event::Pong,
            Event::Data("b".into()),
            Event::Close,
        ];
        assert_eq!(decode(&bytes.concat(), 1), (expected, None));
    }

    #[test]
    fn what_the_standard_forbids_is_a_violation() {
        let cases: [(&[u8], u16); 9] = [
            (b"\x81\x01x", PROTOCOL_ERROR),
            (&frame(0xc1, b"x"), PROTOCOL_ERROR),
            (&frame(0x83, b"x"), PROTOCOL_ERROR),
            (&frame(0x80, b"x"), PROTOCOL_ERROR),
            (&frame(0x09, b"x"), PROTOCOL_ERROR),
            (&frame(0x89, &[0; 126]), PROTOCOL_ERROR),
            (&frame(0x88, b"x"), PROTOCOL_ERROR),
            (
                &[frame(0x01, b"x"), frame(0x81, b"y")].concat(),
                PROTOCOL_ERROR,
            ),
            (&frame(0x81, b"\xff"), INVALID_DATA),
        ];
        for (bytes, code) in cases {
            assert_eq!(
                decode(bytes, usize::MAX).1,
                Some(Violation(code)),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrived_does_not_matter(
            frames in proptest::collection::vec(
                (prop_oneof![Just(0x01_u8), Just(0x02), Just(0x80), Just(0x81), Just(0x82), Just(0x89), any::<u8>()],
                 proptest::collection::vec(any::<u8>(), 0..200)),
                0..6,
            ),
            piece in 1_usize..9,
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
            let ((whole, wrong), (pieces, wrong_too)) = (decode(&bytes, usize::MAX), decode(&bytes, piece));
            prop_assert_eq!(wrong, wrong_too);
            // Pieces of a frame that turns out to be wrong may have been handed on already.
            if wrong.is_none() {
                prop_assert_eq!(whole, pieces);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            decode(&bytes, 7);
        }
    }
}
