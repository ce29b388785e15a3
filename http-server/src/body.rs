//! Bodies of requests that must arrive at some pace, and of answers that say when they are done.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::Limits;
use crate::activity::{Running, Slow};
use crate::metrics::ServerMetrics;
use crate::patience::Patience;

/// Reading a body failed because its client does not send it, or too slowly.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body of the request did not arrive in time")]
pub struct SlowBody;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request. Time in which nobody asks for it does not count.
pub(crate) struct Paced {
    body: Incoming,
    patience: Patience,
    alarm: Option<Pin<Box<Sleep>>>,
    metrics: ServerMetrics,
}

impl Paced {
    pub(crate) fn new(body: Incoming, limits: &Limits, metrics: ServerMetrics) -> Self {
        Self {
            body,
            patience: Patience::new(limits),
            alarm: None,
            metrics,
        }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let bytes = match &frame {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                    _ => 0,
                };
                this.patience.moved(Instant::now(), bytes);
                Poll::Ready(frame.map(|frame| frame.map_err(Cause::from)))
            }
            Poll::Pending => {
                let until = this.patience.wait(Instant::now());
                let alarm = this
                    .alarm
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
                if alarm.deadline() != until {
                    alarm.as_mut().reset(until);
                }
                match alarm.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        this.metrics.cut(Slow::Body);
                        Poll::Ready(Some(Err(SlowBody.into())))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer; its request is under way until it is dropped.
pub(crate) struct Answer {
    body: Body,
    running: Running,
    http2: bool,
}

impl Answer {
    pub(crate) fn new(body: Body, running: Running) -> Self {
        let http2 = running.is_http2();
        Self {
            body,
            running,
            http2,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
        // Over HTTP/1 the socket shows who does not read. HTTP/2 holds back what the client gives no window for.
        let watched = |frame: Frame<Bytes>| match this.http2 {
            true => frame.map_data(|data| this.running.watched(data)),
            false => frame,
        };
        Poll::Ready(frame.map(|frame| frame.map(watched)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
