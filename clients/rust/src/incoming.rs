//! Owns the reading of server-streaming calls, one after the other: opening, waiting no longer than patience lasts, and
//! pausing before the next.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::Sleep;
use tonic::{Response, Status, Streaming};

use crate::append::BoxFuture;

pub(crate) type Opening<M> = BoxFuture<'static, Result<Response<Streaming<M>>, Status>>;

/// What came of a wait.
pub(crate) enum Received<M> {
    Message(M),
    /// The call has ended well.
    End,
    Failure(Status),
    /// Nothing has come within so long, and the call is given up.
    Silence(Duration),
}

/// The messages of a call, and of the call that follows when it is interrupted. Whoever stops polling loses none.
pub(crate) struct Incoming<M> {
    phase: Phase<M>,
    /// Of the pause, or of the wait under way.
    timer: Option<(Duration, Pin<Box<Sleep>>)>,
}

enum Phase<M> {
    NoCall,
    Opening(Opening<M>),
    Open(Box<Streaming<M>>),
    Pause,
}

impl<M> Incoming<M> {
    pub(crate) fn new() -> Self {
        Self { phase: Phase::NoCall, timer: None }
    }

    /// Makes the next call wait so long.
    pub(crate) fn pause(&mut self, delay: Duration) {
        self.phase = Phase::Pause;
        self.timer = Some(timer(delay));
    }

    /// Ends the call under way.
    pub(crate) fn close(&mut self) {
        self.phase = Phase::NoCall;
        self.timer = None;
    }

    /// Waits for the next message; opens a call first where there is none.
    pub(crate) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        patience: impl FnOnce() -> Duration,
        open: impl Fn() -> Opening<M>,
    ) -> Poll<Received<M>> {
        loop {
            let received = match &mut self.phase {
                Phase::NoCall => {
                    self.phase = Phase::Opening(open());
                    continue;
                }
                Phase::Pause => {
                    if let Some((_, pause)) = &mut self.timer {
                        ready!(pause.as_mut().poll(context));
                    }
                    self.close();
                    continue;
                }
                Phase::Opening(opening) => match opening.as_mut().poll(context) {
                    Poll::Ready(Ok(response)) => {
                        self.phase = Phase::Open(Box::new(response.into_inner()));
                        continue;
                    }
                    Poll::Ready(Err(failure)) => Received::Failure(failure),
                    Poll::Pending => ready!(self.poll_silence(context, patience)),
                },
                Phase::Open(messages) => match Pin::new(&mut **messages).poll_next(context) {
                    Poll::Ready(Some(Ok(message))) => {
                        self.timer = None;
                        return Poll::Ready(Received::Message(message));
                    }
                    Poll::Ready(Some(Err(failure))) => Received::Failure(failure),
                    Poll::Ready(None) => Received::End,
                    Poll::Pending => ready!(self.poll_silence(context, patience)),
                },
            };
            self.close();
            return Poll::Ready(received);
        }
    }

    fn poll_silence(&mut self, context: &mut Context<'_>, patience: impl FnOnce() -> Duration) -> Poll<Received<M>> {
        let (patience, timer) = self.timer.get_or_insert_with(|| timer(patience()));
        timer.as_mut().poll(context).map(|()| Received::Silence(*patience))
    }
}

fn timer(time: Duration) -> (Duration, Pin<Box<Sleep>>) {
    (time, Box::pin(tokio::time::sleep(time)))
}
