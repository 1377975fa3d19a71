//! How one request ended, in the words of the history.

use herd_history::{Outcome, Served};
use herd_wire::{
    absent,
    v1::{self, GetResponse},
};
use tonic::{Code, Status};

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Answer(GetResponse),
    Error(Status),
    /// Its client hung up, as it was told to.
    HungUp,
}

impl Ending {
    pub(crate) fn of(answer: Result<GetResponse, Status>) -> Self {
        match answer {
            Ok(answer) => Self::Answer(answer),
            Err(status) => Self::Error(status),
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Answer(_) => Outcome::Answered,
            Self::Error(status) => outcome(status.code()),
            Self::HungUp => Outcome::HungUp,
        }
    }

    pub(crate) fn served(&self) -> Served {
        match self {
            Self::Answer(answer) => served(answer.served()),
            Self::Error(status) => {
                absent::read(status).map_or(Served::Unknown, |absent| served(absent.served))
            }
            Self::HungUp => Served::Unknown,
        }
    }
}

const fn served(served: v1::Served) -> Served {
    match served {
        v1::Served::Unspecified => Served::Unknown,
        v1::Served::Hit => Served::Hit,
        v1::Served::Led => Served::Led,
        v1::Served::Waited => Served::Waited,
        v1::Served::WaitedFleet => Served::WaitedFleet,
        v1::Served::SecondLook => Served::SecondLook,
        v1::Served::Uncoordinated => Served::Uncoordinated,
        v1::Served::Stale => Served::Stale,
        v1::Served::Negative => Served::Negative,
        v1::Served::Filtered => Served::Filtered,
        v1::Served::HitLocal => Served::HitLocal,
    }
}

pub(crate) const fn outcome(code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Answered,
        Code::NotFound => Outcome::NotFound,
        Code::InvalidArgument => Outcome::InvalidArgument,
        Code::Unavailable => Outcome::Unavailable,
        Code::DeadlineExceeded => Outcome::DeadlineExceeded,
        Code::ResourceExhausted => Outcome::ResourceExhausted,
        Code::Cancelled => Outcome::Cancelled,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A remembered absence is served like a hit; an absence of which nothing is known is a miss.
    #[test]
    fn absences_say_how_they_came_about() {
        let mut status = Status::not_found("no such row");
        assert_eq!(Ending::Error(status.clone()).served(), Served::Unknown);
        absent::describe(&mut status, v1::Served::Negative, "node-7", 12, 3);
        let ending = Ending::Error(status);
        assert_eq!((ending.outcome(), ending.served()), (Outcome::NotFound, Served::Negative));
    }
}
