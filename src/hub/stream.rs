//! `EventStream`: the answer of Server-Sent Events that a connection is sent, and up to which place of each channel's log
//! it has been. So the id of each event says where to go on, for all channels at once.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use super::channel::LocalChannel;
use super::inbox::Delivery;
use super::outlet::Outlet;
use super::{Peer, Slot};
use crate::channel_log::LogId;
use crate::net::Socket;
use crate::protocol::sse::sse_id;
use crate::protocol::{Encoded, Form, Forms, SseStyle};

/// A stream. Nothing is sent before it has begun.
#[derive(Debug)]
pub struct EventStream {
    socket: Socket,
    style: SseStyle,
    places: RefCell<Option<Box<[Place]>>>,
}

/// How far a stream is on one of its channels.
#[derive(Debug)]
struct Place {
    /// Compared only. The subscription keeps the channel there.
    channel: *const LocalChannel,
    log_id: LogId,
}

impl EventStream {
    /// A stream that has not begun, as the answer on a connection.
    #[must_use]
    pub fn new(style: SseStyle, socket: Socket) -> Self {
        Self {
            socket,
            style,
            places: RefCell::default(),
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// None before it begins.
    pub(super) fn form(&self) -> Form {
        match *self.places.borrow() {
            Some(_) => Form::Sse(self.style, None),
            None => Form::Nothing,
        }
    }

    /// Begins, with the channels in the order in which ids name them; without any there are no ids.
    pub(super) fn begin<'a>(&self, channels: impl Iterator<Item = (&'a Slot, LogId)>) {
        let place = |(slot, log_id): (&Slot, LogId)| Place {
            channel: Rc::as_ptr(&slot.channel),
            log_id,
        };
        *self.places.borrow_mut() = Some(channels.map(place).collect());
    }

    /// The block of an event of a channel, with the id of the stream if the event has a place in the channel's log. Of a
    /// stream with one channel it is the same as that of all others.
    pub(super) fn block(
        &self,
        channel: &LocalChannel,
        log_id: Option<LogId>,
        frame: &Encoded,
        forms: &Forms,
    ) -> Option<Bytes> {
        let form = self.form();
        let mut places = self.places.borrow_mut();
        let places = places.as_deref_mut()?;
        let place = places
            .iter_mut()
            .find(|place| std::ptr::eq(place.channel, channel));
        let (Some(log_id), Some(place)) = (log_id, place) else {
            return forms.bytes_of(form, frame);
        };
        place.log_id = log_id;
        if places.len() == 1 {
            return forms.bytes_of(Form::Sse(self.style, Some(log_id.0)), frame);
        }
        let block = forms.bytes_of(form, frame)?;
        let id = sse_id(places.iter().map(|place| place.log_id.0));
        Some([id.as_bytes(), &block].concat().into())
    }
}

impl Peer {
    /// Begins a stream: its first bytes, and its channels in the order of its ids, each with its place in its log; none
    /// of them if the stream has no ids.
    pub fn begin_stream<'a>(
        &self,
        first: &Bytes,
        channels: impl Iterator<Item = (&'a Slot, LogId)>,
    ) {
        if let Outlet::Events(stream) = &self.outlet {
            stream.begin(channels);
            self.send_bytes(first);
        }
    }

    /// Sends an event of a channel to this connection alone, with its place in the channel's log, and counts it.
    pub fn send_event(&self, slot: &Slot, log_id: LogId, frame: &Encoded) {
        let bytes = self.bytes_of(&slot.channel, Some(log_id), frame, &Forms::default());
        if let Some(bytes) = bytes {
            self.send_bytes(&bytes);
        }
    }

    /// Sends one frame of many, of a channel, without counting it. `forms` has been made of it. Returns whether it was
    /// taken.
    pub(super) fn deliver(
        &self,
        channel: &LocalChannel,
        delivery: &Delivery,
        forms: &Forms,
    ) -> bool {
        match self.outlet.form() {
            Form::Frame => self.put(delivery.frame.bytes()),
            _ => self
                .bytes_of(channel, delivery.log_id, &delivery.frame, forms)
                .is_some_and(|bytes| self.put(&bytes)),
        }
    }

    /// A channel's event in the connection's form; none if it means nothing there.
    fn bytes_of(
        &self,
        channel: &LocalChannel,
        log_id: Option<LogId>,
        frame: &Encoded,
        forms: &Forms,
    ) -> Option<Bytes> {
        match &self.outlet {
            Outlet::Events(stream) => stream.block(channel, log_id, frame, forms),
            outlet => forms.bytes_of(outlet.form(), frame),
        }
    }
}
