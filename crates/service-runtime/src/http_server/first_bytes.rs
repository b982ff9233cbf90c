//! Closes a connection whose client does not say within a time which protocol it speaks.
//!
//! hyper-util reads up to 24 bytes to tell HTTP/2 (whose preface is fixed) from HTTP/1.1, and has no timeout for that: its header
//! timeout begins after it. So a client that sends nothing, or the preface a byte at a time, would hold a connection for ever.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The stream, until the protocol is known with a deadline on reads.
#[derive(Debug)]
pub(super) struct FirstBytes<S> {
    stream: S,
    /// Bytes of the preface seen so far.
    matched: usize,
    /// `None` once the protocol is known.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> FirstBytes<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, matched: 0, deadline: Some(Box::pin(sleep(limit))) }
    }

    /// Follows what hyper-util sees: the protocol is known at the first byte that differs from the preface, or at its end.
    fn observe(&mut self, read: &[u8]) {
        let rest = &HTTP2_PREFACE[self.matched..];
        let same = read.iter().zip(rest).take_while(|(seen, expected)| seen == expected).count();
        self.matched += same;
        if self.matched == HTTP2_PREFACE.len() || same < read.len() {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = pin!(&mut self.stream).poll_read(cx, buf);
        if self.deadline.is_none() {
            return read;
        }
        match read {
            Poll::Ready(Ok(())) => self.observe(&buf.filled()[before..]),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let deadline = self.deadline.as_mut().expect("looked at just above");
                if deadline.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "no request within the header timeout",
                    )));
                }
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
