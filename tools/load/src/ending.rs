//! What becomes of requests: counts, histories, records, and second requests of operations that have two.

use trireme_client::{Completion, SubmitError};

use crate::history::Ended;
use crate::making::{FollowUp, Load};
use crate::options::LoadError;
use crate::payload::{Asked, Effect, Kind, effect};
use crate::workload::Operation;

/// So many refusals in a row without one acknowledgement end the run: it would measure nothing else.
const REFUSALS_TO_END: u64 = 1_000;
/// The same while keys are written: replicas that are full for some seconds are no reason to end.
const REFUSALS_TO_END_FILLING: u64 = 200_000;

impl Load<'_> {
    pub(crate) fn on_completion(&mut self, now: u64, completion: Completion) -> Result<(), LoadError> {
        let flight = usize::try_from(completion.tag).expect("tags are places");
        let place = completion.position as usize;
        let entry = &mut self.flights[flight];
        let intended = entry.intended_ns[place];
        let asked = entry.asked[place].clone();
        entry.remaining -= 1;
        let sent_ns = entry.sent_ns;
        if entry.remaining == 0 {
            self.free.push(flight);
        }
        self.in_flight -= 1;
        self.payloads.settled(&asked);
        if let Some(historian) = &mut self.historian {
            historian.record(&Ended {
                client: completion.identity + self.options.first_client,
                asked: &asked,
                sent_ns,
                now_ns: now,
                result: completion.result.as_ref().map(|accepted| &accepted.result[..]),
            })?;
        }
        match completion.result {
            Ok(accepted) => {
                self.refusals_in_a_row = 0;
                self.payloads.heard(asked.key, &accepted.result);
                let effect = effect(self.options.app, asked.kind, &accepted.result);
                self.meter.acknowledge(effect);
                self.go_on(&asked, effect, intended, now);
                self.recorder.record(
                    completion.identity + self.options.first_client,
                    completion.number,
                    accepted.slot,
                    &accepted.result,
                )
            }
            Err(error) => self.on_failure(&asked, error),
        }
    }

    /// The operation is complete, or its second request is to be sent.
    fn go_on(&mut self, asked: &Asked, effect: Effect, intended: u64, now: u64) {
        if self.filling {
            return;
        }
        let read = asked.operation == Operation::ReadModifyWrite && asked.kind == Kind::Get;
        if read && effect != Effect::None {
            self.follow_ups.push_back(FollowUp {
                key: asked.key,
                intended_ns: intended,
            });
            return;
        }
        self.meter
            .complete(asked.operation, intended, now, u64::from(asked.bytes));
    }

    fn on_failure(&mut self, asked: &Asked, error: SubmitError) -> Result<(), LoadError> {
        if self.filling {
            // Written again, whether the first put was executed or not: nobody reads yet.
            self.refill.push(asked.key);
        } else {
            self.meter.fail(&error);
        }
        let lasting = matches!(
            error,
            SubmitError::Refused(_) | SubmitError::NumberTaken | SubmitError::ResultGone
        );
        self.refusals_in_a_row += u64::from(lasting || self.filling);
        let most = if self.filling {
            REFUSALS_TO_END_FILLING
        } else {
            REFUSALS_TO_END
        };
        if self.refusals_in_a_row >= most {
            Err(LoadError::Refused(error))
        } else {
            Ok(())
        }
    }
}
